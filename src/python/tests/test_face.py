"""What Python sees of errors, progress, stops and types."""

import importlib.util
import inspect
import os
import re
import signal
import subprocess
import sys
import unittest
import warnings
from pathlib import Path

import numpy as np
import pseudo_density
from support import InFolder, features, pd, pictures, ppm, write_pictures

COMMAND = [sys.executable, "-m", "pseudo_density"]


def refused(*words):
    """The words of an error of the command, without those that say which part is what."""
    done = subprocess.run([*COMMAND, *map(str, words)], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.replace("error: ", "").strip()


class Errors(InFolder):
    def test_words_and_hint_are_the_command_s(self):
        np.save(self.folder / "few.npy", features(5))
        code, words = refused("score", self.folder / "few.npy")
        self.assertEqual(code, 1)
        with self.assertRaises(ValueError) as caught:
            pseudo_density.score(features(5))
        self.assertEqual(str(caught.exception), words)
        self.assertIn("lower --k", caught.exception.hint)

    def test_a_missing_file_is_an_error_of_the_system(self):
        missing = self.folder / "missing"
        with self.assertRaises(FileNotFoundError) as caught:
            pseudo_density.embed(missing)
        self.assertIn(refused("embed", missing, "-o", self.folder / "ref")[1].split("\n")[0], str(caught.exception))
        self.assertEqual(Path(caught.exception.filename), missing)

    def test_what_makes_no_sense_is_refused(self):
        rows = features(50)
        with_hole = rows.copy()
        with_hole[3, 1] = np.nan
        cases = {
            "finite": lambda: pseudo_density.score(with_hole),
            "shape": lambda: pseudo_density.score(rows[0]),
            "names for 50 rows": lambda: pseudo_density.score(rows, paths=["a"]),
            "duplicates": lambda: pseudo_density.score(rows, duplicates="drop"),
            "not a rule": lambda: pseudo_density.weights(rows, rows, "three-level"),
            "needs threshold": lambda: pseudo_density.weights(rows, rows, "two-level"),
            "belongs to rule": lambda: pseudo_density.weights(rows, rows, "power:1", dimension=3.0),
            "belong to rule": lambda: pseudo_density.weights(rows, rows, weight=3.0),
            "budget": lambda: pseudo_density.weights(rows, rows, budget=0.5),
            "is not a metric|no metric|unknown": lambda: pseudo_density.evaluate(rows, rows, ["fit"]),
            "reference": lambda: pseudo_density.select(rows, 3, novel=5),
            "no extractor": lambda: pseudo_density.embed(pictures(3), extractor="large"),
            "must be auto": lambda: pseudo_density.embed(pictures(3), device="tpu"),
            "known are exact": lambda: pseudo_density.duplicates(pictures(3), level="alike"),
            r"\[N, H, W, 3\]": lambda: pseudo_density.embed(pictures(3)[0]),
            "no images": lambda: pseudo_density.embed([]),
            "given twice": lambda: pseudo_density.embed(["a.png", "a.png"]),
        }
        for words, call in cases.items():
            with self.subTest(words), self.assertRaisesRegex(ValueError, words):
                call()
        for given in (pictures(3).astype(np.float32), 7):
            with self.assertRaises(TypeError):
                pseudo_density.embed(given)

    def test_a_picture_that_cannot_be_used_is_skipped_with_its_reason(self):
        images = [*map(ppm, pictures(4)), b"no image", pictures(1)[0].astype(np.int64)]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = pseudo_density.embed(images)
        self.assertEqual((len(found), found.paths), (4, ["row:0", "row:1", "row:2", "row:3"]))
        self.assertEqual([name for name, _ in found.skipped], ["row:4", "row:5"])
        self.assertIn("uint8", found.skipped[1][1])
        self.assertIn("2 of 6 images", str(told[0].message))
        with self.assertRaisesRegex(ValueError, "strict"):
            pseudo_density.embed(images, strict=True)

    def test_features_of_another_network_do_not_fit(self):
        reference = pseudo_density.Reference.create(self.folder / "ref", features(50), predictor=False)
        with self.assertRaisesRegex(ValueError, "does not fit the reference: extractor external there, tiny here"):
            reference.density(pseudo_density.embed(pictures(3)))
        with self.assertRaisesRegex(ValueError, "another program"):
            reference.score(pictures(3))
        with self.assertRaisesRegex(ValueError, "not a reference directory"):
            pseudo_density.Reference.open(self.folder)
        with self.assertRaisesRegex(ValueError, "its own K"):
            pseudo_density.weights(reference, features(30), k=3)


class Calls(InFolder):
    def test_progress_is_told_from_the_first_image_to_the_last(self):
        told = []
        pseudo_density.embed(pictures(40), progress=lambda *step: told.append(step))
        embedding = [(done, total) for step, done, total in told if step == "embedding"]
        self.assertEqual((embedding[0], embedding[-1]), ((0, 40), (40, 40)))
        self.assertEqual(embedding, sorted(embedding))

    def test_what_the_callback_raises_ends_the_work(self):
        def fail(*_):
            raise LookupError("enough")

        with self.assertRaisesRegex(LookupError, "enough"):
            pseudo_density.embed(pictures(40), progress=fail)

    def test_ctrl_c_ends_the_work(self):
        # A process that was started in the background may ignore the signal.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        with self.assertRaises(KeyboardInterrupt):
            pseudo_density.embed(pictures(40), progress=lambda *_: signal.raise_signal(signal.SIGINT))
        self.assertEqual(len(pseudo_density.embed(pictures(4))), 4)

    @unittest.skipUnless(os.name == "posix", "signals of POSIX")
    def test_ctrl_c_ends_the_command_with_130(self):
        words = [*COMMAND, "demo", "-o", str(self.folder / "demo")]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            running.stdout.readline()
            running.send_signal(signal.SIGINT)
            _, told = running.communicate()
        self.assertEqual(running.returncode, 130, told)

    @unittest.skipUnless(hasattr(os, "fork"), "there is no fork")
    def test_a_forked_process_is_told_that_it_cannot_work_here(self):
        pseudo_density.score(features(50))
        child = os.fork()
        if child == 0:
            try:
                pseudo_density.score(features(50))
                os._exit(1)
            except RuntimeError as error:
                os._exit(0 if "spawn" in str(error) else 2)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_the_command_has_its_exit_codes_and_says_what_it_is(self):
        self.assertEqual(refused("score", "--k")[0], 2)
        self.assertEqual(refused("score", self.folder / "missing")[0], 1)
        self.assertRegex(pd("--version"), rf"^pd {pseudo_density.__version__}\ncommit: .+\noptional features: ")
        self.assertIn("pd score", pd("help"))


class Types(InFolder):
    def test_features_are_seen_and_not_copied_and_cannot_be_written_into(self):
        found = pseudo_density.embed(pictures(5))
        array = np.asarray(found)
        self.assertTrue(np.shares_memory(array, found.array))
        self.assertFalse(array.flags.writeable)
        self.assertEqual((array.shape, array.dtype, found.shape), ((5, found.shape[1]), np.float32, array.shape))
        some = found.take(np.array([3, 1]))
        np.testing.assert_array_equal(some.array, array[[3, 1]])
        self.assertEqual((some.paths, some.extractor), (["row:3", "row:1"], found.extractor))
        with self.assertRaises(IndexError):
            found.take([5])
        kept = array[2].copy()
        del found
        np.testing.assert_array_equal(array[2], kept)

    def test_tables_become_those_of_pandas_and_arrow_where_they_are_installed(self):
        scores = pseudo_density.score(features(60))
        table = scores.table()
        self.assertEqual((len(table), table.columns[:2]), (60, ["path", "pseudo_density"]))
        np.testing.assert_array_equal(table["pseudo_density"], scores.pseudo_density)
        self.assertEqual(table["nearest"][0], f"row:{scores.nearest[0]}")
        named = pseudo_density.score(features(60), paths=[f"{i}.png" for i in range(60)]).table()
        self.assertEqual((named["path"][1], named["nearest"][0]), ("1.png", f"{scores.nearest[0]}.png"))
        with self.assertRaises(KeyError):
            table["rho"]
        for module, method in (("pandas", "to_pandas"), ("pyarrow", "to_arrow")):
            if importlib.util.find_spec(module) is None:
                with self.assertRaises(ImportError):
                    getattr(scores, method)()
            else:
                found = getattr(scores, method)()
                np.testing.assert_array_equal(np.asarray(found["pseudo_density"]), scores.pseudo_density)

    def test_everything_is_documented_and_has_types(self):
        stubs = (Path(pseudo_density.__file__).parent / "_native.pyi").read_text()
        for name in pseudo_density.__all__:
            if name == "__version__":
                continue
            found = getattr(pseudo_density, name)
            self.assertTrue(found.__doc__, name)
            if not inspect.isclass(found):
                self.assertEqual(self.parameters(stubs, name), list(inspect.signature(found).parameters), name)
                continue
            for member, value in vars(found).items():
                if member.startswith("_"):
                    continue
                self.assertTrue(value.__doc__, f"{name}.{member}")
                body = re.search(rf"^class {name}:\n((?:    .*\n)+)", stubs, re.M).group(1)
                self.assertIn(f"def {member}(", body, name)
                if callable(value) and member not in ("open", "create"):
                    ours = list(inspect.signature(value).parameters)
                    self.assertEqual(self.parameters(body, member), ours, f"{name}.{member}")

    def parameters(self, stubs, name):
        text = re.search(rf"def {name}\((.*?)\) ->", stubs, re.S).group(1)
        names = re.findall(r"(?:^|,|\n)\s*(\w+)(?=:|,|$)", text)
        return [name for name in names if name not in ("Any", "int", "str")]

    def test_defaults_are_the_command_s(self):
        def of_command(words, flag):
            return re.search(rf"--{flag} .*?\[default: ([^\]]+)\]", pd(*words, "--help"), re.S).group(1)

        for function, words, flags in (
            (pseudo_density.score, ["score"], ["k", "exponent", "duplicates", "index", "seed", "device"]),
            (pseudo_density.Reference.create, ["index"], ["k", "exponent", "duplicates", "index", "seed"]),
            (pseudo_density.evaluate, ["eval"], ["k", "k-density", "boundary", "kid-subsets", "kid-subset-size"]),
            (pseudo_density.select, ["select"], ["set", "seed"]),
            (pseudo_density.duplicates, ["dups"], ["level", "keep"]),
        ):
            parameters = inspect.signature(function).parameters
            for flag in flags:
                ours = parameters[flag.replace("-", "_")].default
                theirs = of_command(words, flag)
                self.assertEqual(type(ours)(theirs), ours, f"{function} {flag}")


if __name__ == "__main__":
    unittest.main()
