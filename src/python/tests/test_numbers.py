"""The numbers and files of the functions are those of the command, to the last bit."""

import json
import unittest

import numpy as np
import pseudo_density
from support import InFolder, column, features, files, pd, pictures, ppm, write_pictures


class Numbers(InFolder):
    def test_features_are_the_same_from_a_folder_a_list_an_array_and_a_sequence(self):
        images = pictures(20)
        folder = write_pictures(self.folder / "images", images)
        pd("embed", folder, "-o", self.folder / "ref")
        expected = np.load(self.folder / "ref" / "features.npy")
        of_folder = pseudo_density.embed(folder)
        np.testing.assert_array_equal(of_folder.array, expected)
        self.assertEqual(of_folder.paths[3], "003.ppm")
        given = {
            "a list of paths": sorted(folder.iterdir()),
            "an array": images,
            "a list of arrays": list(images),
            "a list of files": [ppm(picture) for picture in images],
            "an array that is not contiguous": np.asfortranarray(images),
        }
        for what, given_images in given.items():
            with self.subTest(what):
                np.testing.assert_array_equal(pseudo_density.embed(given_images).array, expected)
        gray = np.repeat(images[..., :1], 3, axis=3)
        np.testing.assert_array_equal(
            pseudo_density.embed(gray).array, pseudo_density.embed(images[..., :1]).array
        )

    def test_scores_of_pictures_are_the_command_s_file(self):
        images = pictures(20)
        images[7] = images[2]
        folder = write_pictures(self.folder / "images", images)
        pd("score", folder, "--k", 5, "-o", self.folder / "theirs.csv")
        scores = pseudo_density.score(pseudo_density.embed(folder), k=5)
        scores.save(self.folder / "ours.csv")
        self.assertEqual((self.folder / "ours.csv").read_bytes(), (self.folder / "theirs.csv").read_bytes())
        self.assertEqual((scores.copy_of[7], scores.copy_of[2], scores.copy_of[0]), (2, 7, -1))
        self.assertEqual(scores.nearest[7], 2)
        self.assertAlmostEqual(scores.pseudo_density.mean(), 1.0)

    def test_scores_of_features_are_the_command_s_file(self):
        rows = features(300)
        np.save(self.folder / "x.npy", rows)
        pd("score", self.folder / "x.npy", "--duplicates", "collapse", "-o", self.folder / "theirs.parquet")
        for given in (rows, rows.astype(np.float64), np.asfortranarray(rows), rows[::-1][::-1]):
            scores = pseudo_density.score(given, duplicates="collapse")
            scores.save(self.folder / "ours.parquet")
            ours, theirs = ((self.folder / f"{who}.parquet").read_bytes() for who in ("ours", "theirs"))
            self.assertEqual(ours, theirs)
        self.assertIsNone(scores.copy_of)

    def test_a_reference_is_the_command_s_and_scores_as_it_does(self):
        folder = write_pictures(self.folder / "real", pictures(30))
        theirs, ours = self.folder / "theirs", self.folder / "ours"
        pd("embed", folder, "-o", theirs)
        pd("index", theirs, "--k", 4)
        made = pseudo_density.Reference.create(ours, folder, k=4)
        self.assertEqual(files(ours), files(theirs))
        self.assertEqual((len(made), made.paths[2]), (30, "002.ppm"))
        np.testing.assert_array_equal(made.array, np.load(theirs / "features.npy"))
        np.testing.assert_array_equal(made.densities, column(theirs / "scores.csv", "pseudo_density"))

        generated = write_pictures(self.folder / "generated", pictures(12, seed=1))
        pd("score", generated, "--reference", theirs, "-o", self.folder / "theirs.csv")
        reference = pseudo_density.Reference.open(theirs)
        scores = reference.score(generated)
        scores.save(self.folder / "ours.csv")
        self.assertEqual((self.folder / "ours.csv").read_bytes(), (self.folder / "theirs.csv").read_bytes())
        of_array = reference.score(pictures(12, seed=1))
        np.testing.assert_array_equal(of_array.pseudo_density, scores.pseudo_density)
        np.testing.assert_array_equal(reference.density(reference.embed(generated)), scores.pseudo_density)
        predicted = reference.predictor(pseudo_density.embed(generated))
        self.assertEqual(predicted.shape, (12,))
        self.assertGreaterEqual(predicted.min(), reference.densities.min())

    def test_a_reference_of_features_is_the_command_s(self):
        np.save(self.folder / "x.npy", features(200))
        pd("embed", self.folder / "x.npy", "-o", self.folder / "theirs")
        pd("index", self.folder / "theirs", "--no-predictor")
        ours = pseudo_density.Reference.create(self.folder / "ours", features(200), predictor=False)
        self.assertEqual(files(self.folder / "ours"), files(self.folder / "theirs"))
        with self.assertRaisesRegex(ValueError, "no density predictor"):
            ours.predictor(features(3))

    def test_weights_are_those_of_sampling_from_a_pool(self):
        real, generated = features(400), features(250, seed=1, scale=0.7)
        np.save(self.folder / "real.npy", real)
        np.save(self.folder / "generated.npy", generated)
        reference = self.folder / "ref"
        pd("embed", self.folder / "real.npy", "-o", reference)
        pd("index", reference, "--no-predictor")
        rules = {
            "ratio:0": {},
            "ratio:-2": {"dimension": 3.5},
            "power:2": {},
            "two-level": {"threshold": "p90", "weight": 33.0},
        }
        for number, (rule, numbers) in enumerate(rules.items()):
            with self.subTest(rule):
                out = self.folder / f"out{number}"
                flags = [word for name, value in numbers.items() for word in (f"--{name}", value)]
                words = ["--reference", reference, f"--rule={rule}", *flags, "-n", 20, "-o", out]
                pd("sample", "--pool", self.folder / "generated.npy", *words)
                opened = pseudo_density.Reference.open(reference)
                found = pseudo_density.weights(opened, generated, rule, **numbers)
                np.testing.assert_array_equal(found.weight, column(out / "samples.csv", "weight"))
                of_arrays = pseudo_density.weights(real, generated, rule, **numbers)
                np.testing.assert_array_equal(of_arrays.log_weight, found.log_weight)
                if rule != "two-level":
                    self.assertAlmostEqual(found.acceptance.mean(), 0.25)
                    ratio = np.exp(found.log_weight - found.log_weight.max())
                    self.assertAlmostEqual(
                        found.effective_sample_size, ratio.sum() ** 2 / (ratio**2).sum(), places=6
                    )
        half = pseudo_density.weights(real, generated, budget=2)
        self.assertAlmostEqual(half.acceptance.mean(), 0.5)

    def test_metrics_are_those_of_the_command(self):
        for name, rows in {"real": features(300), "a": features(200, seed=1), "b": features(150, seed=2)}.items():
            np.save(self.folder / f"{name}.npy", rows)
        paths = [self.folder / "a.npy", self.folder / "b.npy"]
        words = ["--real", self.folder / "real.npy", "--generated", *paths, "--bootstrap", 20, "--json"]
        theirs = json.loads(pd("eval", *words))
        sets = {"a": np.load(paths[0]), "b": np.load(paths[1])}
        found = pseudo_density.evaluate(np.load(self.folder / "real.npy"), sets, bootstrap=20)
        ours = found.to_dict()
        for our_set, their_set in zip(ours["generated"], theirs["generated"]):
            del our_set["path"], their_set["path"]
            self.assertEqual(our_set, their_set)
        self.assertEqual(found["precision"], theirs["generated"][0]["precision"])
        of_images = pseudo_density.embed(pictures(40, seed=3))
        of_array = pseudo_density.evaluate(of_images, np.array(of_images.array[:20]), ["recall"])
        self.assertEqual(of_array.values, pseudo_density.evaluate(of_images, of_images.take(range(20)), ["recall"]).values)
        one = pseudo_density.evaluate(np.load(self.folder / "real.npy"), sets["b"], ["recall", "fd"])
        self.assertEqual(one.values, {name: theirs["generated"][1][name] for name in ("recall", "fd")})

    def test_spaces_are_those_of_the_command(self):
        sets = {"a": pictures(30, seed=4), "b": pictures(20, seed=5)}
        named = {"real": pictures(40, seed=3), **sets}
        folders = [write_pictures(self.folder / "in-spaces" / name, images) for name, images in named.items()]
        words = ["--real", folders[0], "--generated", *folders[1:], "--spaces", "tiny", "--spread", 3, "--json"]
        theirs = json.loads(pd("eval", *words))["spaces"]
        found = pseudo_density.evaluate_images(
            folders[0], {"a": folders[1], "b": sets["b"]}, spaces=["tiny"], spread=3
        )
        self.assertEqual(found.spaces, ["tiny"])
        for our_set, their_set in zip(found.to_dict()["spaces"][0]["generated"], theirs[0]["generated"]):
            del our_set["path"], their_set["path"]
            self.assertEqual(our_set, their_set)
        self.assertEqual(found["tiny"]["recall"], theirs[0]["generated"][0]["recall"])
        with self.assertRaisesRegex(ValueError, "named twice"):
            pseudo_density.evaluate_images(folders[0], folders[1], spaces=["tiny", "tiny"])
        with self.assertRaisesRegex(ValueError, "no preset"):
            pseudo_density.evaluate_images(folders[0], folders[1], preset="stylegan")
        with self.assertRaises(KeyError):
            found["vgg16"]

    def test_a_selection_is_the_command_s(self):
        np.save(self.folder / "real.npy", features(200))
        np.save(self.folder / "pool.npy", features(120, seed=1))
        pd("embed", self.folder / "real.npy", "-o", self.folder / "ref")
        pd("index", self.folder / "ref", "--no-predictor")
        reference = pseudo_density.Reference.open(self.folder / "ref")
        pool = np.load(self.folder / "pool.npy")
        cases = {
            "within": ([], {}),
            "against": (["--reference", self.folder / "ref"], {"reference": reference}),
            "apart": (
                ["--reference", self.folder / "ref", "--level", "similar", "--distinct", 60, "--novel", 5],
                {"reference": reference, "distinct": 60, "novel": 5},
            ),
        }
        for name, (flags, arguments) in cases.items():
            with self.subTest(name):
                out = self.folder / name
                pd("select", self.folder / "pool.npy", "-n", 9, *flags, "-o", out)
                found = pseudo_density.select(pool, 9, **arguments)
                for key in ("gain", "quality", "pseudo_density"):
                    np.testing.assert_array_equal(found.table()[key], column(out / "selected.csv", key))
                self.assertEqual(len(set(found.rows)), 9)

    def test_copies_are_those_of_the_command(self):
        images = pictures(16)
        images[5] = images[1]
        images[9] = images[3][:, ::-1]
        folder = write_pictures(self.folder / "images", images)
        for keep in ("largest", "most-typical"):
            pd("dups", folder, "--keep", keep, "-o", self.folder / "theirs.csv")
            pseudo_density.duplicates(folder, keep=keep).save(self.folder / "ours.csv")
            ours = (self.folder / "ours.csv").read_bytes()
            self.assertEqual(ours, (self.folder / "theirs.csv").read_bytes())
        in_memory = pseudo_density.duplicates(images, level="exact")
        self.assertEqual(in_memory["path"], ["row:1", "row:5"])
        self.assertEqual(list(in_memory["keep"]), [True, False])
        others = write_pictures(self.folder / "others", images[[3]])
        against = pseudo_density.duplicates(images, others, level="exact")
        self.assertEqual((against["path"], against["other"]), (["row:3"], ["000.ppm"]))

    def test_latents_are_numpy_s(self):
        draw = lambda seed, *shape: np.random.RandomState(seed).randn(1, *shape).astype(np.float32)
        for seeds, listed in (("3-5,9", [3, 4, 5, 9]), (range(2), [0, 1]), (7, [7]), (np.arange(3), [0, 1, 2])):
            expected = np.concatenate([draw(seed, 12) for seed in listed])
            np.testing.assert_array_equal(pseudo_density.latents(seeds, 12), expected)
        np.testing.assert_array_equal(pseudo_density.latents(5, (2, 3)), draw(5, 2, 3))
        for wrong in (-1, [3, 2**32], 1.5):
            with self.assertRaisesRegex(ValueError, "from 0 to 4294967295"):
                pseudo_density.latents(wrong, 4)
        with self.assertRaisesRegex(ValueError, "list of seeds"):
            pseudo_density.latents("one", 4)


if __name__ == "__main__":
    unittest.main()
