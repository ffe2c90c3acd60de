"""Plants edited copies of pictures: each kind of edit in three strengths.

    python benches/plant_copies.py SOURCES OUT [--count 150] [--side PIXELS]

SOURCES is a folder of pictures or a .zip; OUT gets one file for each source, kind and strength, and planted.csv
(path, source, kind, strength). With --side the sources are first made that long. Needs Pillow.
"""
import argparse, csv, io, random, zipfile
from pathlib import Path
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

def jpeg(im, quality):
    data = io.BytesIO()
    im.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")

def resized(im, factor):
    return im.resize((max(1, round(im.width * factor)), max(1, round(im.height * factor))), Image.BICUBIC)

def cropped(im, share, rng):
    """Leaves out `share` of the width and of the height."""
    w, h = round(im.width * (1 - share)), round(im.height * (1 - share))
    x, y = rng.randint(0, im.width - w), rng.randint(0, im.height - h)
    return im.crop((x, y, x + w, y + h))

def hue(im, degrees):
    h, s, v = im.convert("HSV").split()
    h = h.point(lambda value: (value + round(degrees * 256 / 360)) % 256)
    return Image.merge("HSV", (h, s, v)).convert("RGB")

def font(size):
    return ImageFont.load_default(size=max(6, size))

def watermark(im, opacity):
    layer = Image.new("RGBA", im.size, (255, 255, 255, 0))
    draw = ImageDraw.Draw(layer)
    size = max(6, im.width // 8)
    for y in range(0, im.height, 3 * size):
        draw.text((im.width * 0.05, y), "SAMPLE SHOP", font=font(size), fill=(255, 255, 255, round(255 * opacity)),
                  stroke_width=1, stroke_fill=(0, 0, 0, round(255 * opacity)))
    return Image.alpha_composite(im.convert("RGBA"), layer).convert("RGB")

def text(im, share, rng):
    """A price on an opaque strip of `share` of the height."""
    im = im.copy()
    draw = ImageDraw.Draw(im)
    high = max(4, round(im.height * share))
    top = rng.randint(0, im.height - high)
    draw.rectangle((0, top, im.width, top + high), fill=rng.choice([(200, 0, 0), (255, 255, 255), (0, 0, 0)]))
    draw.text((im.width * 0.1, top), "SALE 19.99", font=font(round(high * 0.8)), fill=(250, 220, 0))
    return im

def border(im, share, colour=(255, 255, 255)):
    return ImageOps.expand(im, round(max(im.size) * share), colour)

def rotated(im, degrees):
    return im.rotate(degrees, Image.BICUBIC, fillcolor=(255, 255, 255))

def blurred(im, radius):
    """`radius` is for 224 pixels on the longer side."""
    return im.filter(ImageFilter.GaussianBlur(max(radius * max(im.size) / 224, 0.3)))

def aspect(im, share):
    return im.resize((round(im.width * (1 + share)), im.height), Image.BICUBIC)

def noise(im, sigma, rng):
    import numpy
    values = numpy.asarray(im).astype(float)
    values += numpy.random.default_rng(rng.randint(0, 1 << 30)).normal(0, sigma, values.shape)
    return Image.fromarray(values.clip(0, 255).astype("uint8"))

KINDS = {
    "exact": lambda im, s, r: im,
    "jpeg": lambda im, s, r: jpeg(im, (60, 30, 12)[s]),
    "resized": lambda im, s, r: resized(im, (0.75, 0.5, 0.35)[s]),
    "mirrored": lambda im, s, r: ImageOps.mirror(im),
    "cropped": lambda im, s, r: cropped(im, (0.1, 0.2, 0.3)[s], r),
    "brightness": lambda im, s, r: ImageEnhance.Brightness(im).enhance((1.25, 0.6, 1.6)[s]),
    "contrast": lambda im, s, r: ImageEnhance.Contrast(im).enhance((0.75, 1.4, 0.5)[s]),
    "hue": lambda im, s, r: hue(im, (20, 60, 150)[s]),
    "gray": lambda im, s, r: ImageEnhance.Color(im).enhance((0.4, 2.0, 0.0)[s]),
    "watermark": lambda im, s, r: watermark(im, (0.25, 0.5, 0.8)[s]),
    "text": lambda im, s, r: text(im, (0.1, 0.15, 0.22)[s], r),
    "border": lambda im, s, r: border(im, (0.05, 0.1, 0.2)[s], [(255, 255, 255), (0, 0, 0)][r.randint(0, 1)]),
    "rotated": lambda im, s, r: rotated(im, (2, 5, 10)[s] * r.choice([-1, 1])),
    "blurred": lambda im, s, r: blurred(im, (1, 2, 4)[s]),
    "aspect": lambda im, s, r: aspect(im, (0.05, 0.1, -0.15)[s]),
    "noise": lambda im, s, r: noise(im, (5, 10, 20)[s], r),
    "mirror+crop+jpeg": lambda im, s, r: jpeg(cropped(ImageOps.mirror(im), (0.1, 0.15, 0.2)[s], r), (60, 40, 25)[s]),
    "gray+border+half": lambda im, s, r: resized(border(im.convert("L").convert("RGB"), (0.05, 0.1, 0.15)[s]), (0.7, 0.5, 0.4)[s]),
    "crop+bright+mark": lambda im, s, r: watermark(ImageEnhance.Brightness(cropped(im, (0.05, 0.1, 0.2)[s], r)).enhance((1.2, 0.7, 1.4)[s]), (0.2, 0.4, 0.6)[s]),
}

def pictures(source):
    """Pairs of a relative path and a function that opens it."""
    names = (".jpg", ".jpeg", ".png")
    if source.suffix == ".zip":
        archive = zipfile.ZipFile(source)
        found = sorted(n for n in archive.namelist() if n.lower().endswith(names))
        return [(n, lambda n=n: Image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in found]
    found = sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.suffix.lower() in names)
    return [(n, lambda n=n: ImageOps.exif_transpose(Image.open(source / n)).convert("RGB")) for n in found]

def plant(sources, out, count, seed=0, side=0, under=""):
    """Writes the copies of `count` pictures whose path starts with `under`; rows of path, source, kind, strength."""
    every = [p for p in pictures(sources) if p[0].startswith(under)]
    chosen = sorted(random.Random(seed).sample(every, min(count, len(every))), key=lambda p: p[0])
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (name, opened) in enumerate(chosen):
        im = opened()
        if side:
            im = resized(im, side / max(im.size))
        for kind, edit in KINDS.items():
            for strength in range(3):
                path = f"{number:04}-{kind}-{strength}.jpg"
                edit(im, strength, random.Random(f"{seed}{name}{kind}{strength}")).save(out / path, quality=92)
                rows.append((path, name, kind, strength))
    return rows

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--side", type=int, default=0, help="pixels of the longer side that sources are first given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--under", default="", help="only sources whose path starts with this")
    args = parser.parse_args()
    rows = plant(args.sources, args.out, args.count, args.seed, args.side, args.under)
    with open(args.out / "planted.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "source", "kind", "strength"), *rows])

if __name__ == "__main__":
    main()
