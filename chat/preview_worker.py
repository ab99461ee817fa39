"""Decode one picture in a process of its own: standard input is the file, standard output a small RGB copy.

Run as a script by `chat.preview`, never imported by it. A picture is hostile input to a large C library, so this process has
little memory, little time, no files to write and no children to start, and it ends after one picture. Output: width and
height as two big-endian 32-bit numbers, then width x height x 3 bytes. Any failure: nothing on standard output, exit 1.
"""

import resource
import struct
import sys
import warnings

MEMORY_BYTES = 768 << 20  # 25 MP decoded as RGBA and converted to RGB is 175 MB; Python and Pillow map about 250 MB
CPU_S = 10
PIXELS = 25_000_000
FORMATS = ("PNG", "JPEG", "GIF", "WEBP")  # Pillow knows 40 more, among them those with the worst history


def main(width: int, height: int) -> None:
    """Write the picture on standard input, made to fit into `width` x `height` pixels, to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from PIL import Image, ImageOps

    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = PIXELS
    with Image.open(sys.stdin.buffer, formats=FORMATS) as picture:
        if picture.width * picture.height > PIXELS:
            raise ValueError("too many pixels")
        picture.draft("RGB", (width * 2, height * 2))  # lets JPEG decode small in the first place
        small = ImageOps.exif_transpose(picture)
        if small.mode in ("RGBA", "LA", "P", "PA"):
            small = small.convert("RGBA")
            small.thumbnail((width, height))
            ground = Image.new("RGBA", small.size, (24, 24, 24, 255))
            small = Image.alpha_composite(ground, small)
        small = small.convert("RGB")
        small.thumbnail((width, height))
        sys.stdout.buffer.write(struct.pack("!II", *small.size) + small.tobytes())


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]))
    except BaseException:  # also MemoryError: the parent says "cannot be shown" for all of them
        sys.exit(1)
