"""Images of every kind, as an image viewer shows them, or refused with the reason; no other program is started."""

import base64
import contextlib
import gc
import http.server
import io
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lvlmscope as lv
from lvlmscope.errors import ImageInputError, TraceFileError
from lvlmscope.tiny import scene
from lvlmscope.traces import image_sources
from lvlmscope.traces.encoded_images import FORMATS, MAX_PIXELS, name_format
from lvlmscope.traces.image_identity import names_of, read_images

SCENE = scene("prior", 0).image.convert("RGB")
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"


def encoded(image: Image.Image = SCENE, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def pixels(image: Any) -> np.ndarray[Any, Any]:
    (found,) = read_images(image)
    assert found.mode == "RGB"
    return np.asarray(found)


def same(image: Any) -> bool:
    return np.array_equal(pixels(image), np.asarray(SCENE))


def test_every_kind_of_input_gives_the_same_pixels(tmp_path: Path) -> None:
    data = encoded()
    text = base64.b64encode(data).decode()
    (tmp_path / "a.png").write_bytes(data)
    path = tmp_path / "a.png"
    array = np.asarray(SCENE)
    tensor = torch.from_numpy(array.copy())
    with path.open("rb") as file:
        kinds: list[Any] = [
            *(data, bytearray(data), memoryview(data), io.BytesIO(data), file, path, str(path), text),
            f"data:image/png;base64,{text}",
            {"type": "image", "image": SCENE},
            {"type": "image", "path": str(path)},
            {"type": "image", "base64": text},
            {"type": "image", "url": f"data:image/png;base64,{text}"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{text}"}},
            {"type": "image_url", "image_url": f"data:image/png;base64,{text}"},
            *(array, tensor, tensor.permute(2, 0, 1), array.astype(np.int64)),
            *(array / 255, (tensor / 255).double().requires_grad_()),
            array.astype(np.uint16) * 257,
        ]
        for number, kind in enumerate(kinds):
            assert same(kind), f"kind {number}"
    assert [np.array_equal(np.asarray(one), array) for one in read_images([path, data, [array]])] == [True] * 3


def test_names_are_of_files_and_urls_only(tmp_path: Path) -> None:
    data = encoded()
    text = base64.b64encode(data).decode()
    (tmp_path / "a.png").write_bytes(data)
    with (tmp_path / "a.png").open("rb") as file:
        given = [tmp_path / "a.png", file, "https://x.org/i/b%20c.png?s=1", {"type": "image", "path": "d/e.png"}]
        assert names_of([*given, text, f"data:image/png;base64,{text}", data, np.zeros((2, 2))]) == (
            *("a.png", "a.png", "b c.png", "e.png"),
            *("", "", "", ""),
        )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_upright(orientation: int) -> None:
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = SCENE.transpose(turned[orientation]) if orientation > 1 else SCENE
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, exif=exif)
    assert same(data)
    assert same(Image.open(io.BytesIO(data)))
    (read,) = read_images(data)
    assert same(read), "an orientation is followed once"


def test_transparency_is_laid_on_white() -> None:
    clear = SCENE.convert("RGBA")
    clear.putalpha(0)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    for image in (clear, encoded(clear), np.asarray(clear), encoded(palette, transparency=1), clear.convert("LA")):
        assert (pixels(image) == 255).all()
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert (pixels(half) == 127).all()
    assert (pixels(half.convert("RGBa")) == 127).all()


def test_sixteen_bits_and_masks() -> None:
    ramp = np.linspace(0, 65_535, 64).round().astype(np.uint16).reshape(8, 8)
    grey = (ramp / 257).round().astype(np.uint8)
    for image in (Image.fromarray(ramp), encoded(Image.fromarray(ramp)), encoded(Image.fromarray(ramp), "TIFF"), ramp):
        assert np.array_equal(pixels(image)[..., 0], grey)
    mask = np.eye(4, dtype=bool)
    for image in (mask, Image.fromarray(mask), torch.from_numpy(mask)):
        assert np.array_equal(pixels(image)[..., 0], np.eye(4) * 255)
    unit = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    for image in (Image.fromarray(unit), torch.from_numpy(unit).bfloat16().float(), unit.astype(np.float16)):
        assert np.abs(pixels(image)[..., 0] - unit * 255).max() <= 1.5
    assert np.abs(pixels(torch.from_numpy(unit).bfloat16())[..., 0] - unit * 255).max() <= 1.5
    assert (pixels(encoded(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "JPEG"))[..., 0] < 30).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_white_image_of_each_mode_is_white(mode: str) -> None:
    white = Image.new("RGB", (4, 4), "white")
    image = white.convert("RGBA").convert(mode) if mode in {"PA", "LA"} else white.convert(mode)
    assert (pixels(image) == 255).all()


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.full((4, 4), 4_000, dtype=np.uint16), r"uint16 numbers up to 4000, of 8, 10, 12 or 16 bits"),
        (np.full((4, 4), 4_000), r"int64 numbers from 4000 to 4000; expected: floats in \[0, 1\]"),
        (np.full((4, 4), -1), "numbers from -1 to -1"),
        (np.full((4, 4), np.nan), "floats outside"),
        (np.zeros((4, 4), dtype=complex), "array of complex128"),
        (np.full((4, 4), "a"), "array of <U1"),
        (np.zeros((2, 4, 4, 3)), r"array of shape \[2, 4, 4, 3\].*one image at a time"),
        (Image.fromarray(np.full((4, 4), 70_000, dtype=np.int32)), "int32 numbers from 70000"),
        (Image.fromarray(np.full((4, 4), 3.5, dtype=np.float32)), "floats outside"),
        (torch.zeros(4, 4, device="meta"), "a tensor on meta"),
        (torch.eye(4).to_sparse(), "torch.sparse_coo"),
        (b"", "no image"),
        (b"GIF89a", "GIF in the bytes that cannot be decoded"),
        (b"words and words and words", "bytes of no known image format in the bytes"),
        (encoded()[:300], "PNG in the bytes that cannot be decoded"),
        (io.StringIO("text"), "a file that gives str"),
        ("data:text/plain,hello", "the data URI 'data:text/plain'"),
        ({"type": "video", "url": "a.mp4"}, "a dict of type 'video'"),
        ({"type": "image"}, "with one of image, url, path, base64"),
        ({"type": "image", "url": "a", "path": "b"}, "with one of image, url, path, base64"),
        ("x.png\0", "embedded null"),
        (Path("nowhere"), "No such file or directory: nowhere"),
        (Path(), "Is a directory"),
        (lambda: None, "got function"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(image: Any, match: str) -> None:
    with pytest.raises(ImageInputError, match=match):
        read_images(image)


def test_closed_and_cut_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(encoded()[:500])
    with (
        Image.open(tmp_path / "cut.png") as lazy,
        pytest.raises(ImageInputError, match="a PIL image that cannot be read"),
    ):
        read_images(lazy)
    (tmp_path / "whole.png").write_bytes(encoded())
    with Image.open(tmp_path / "whole.png") as closed:
        pass
    with pytest.raises(ImageInputError, match="a PIL image that cannot be read"):
        read_images(closed)
    file = (tmp_path / "whole.png").open("rb")
    file.close()
    with pytest.raises(ImageInputError, match="closed file"):
        read_images(file)


@pytest.mark.parametrize("name", ["a.eps", "a.png"])
def test_postscript_is_refused_by_name_and_never_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / name).write_bytes(EPS)
    for image in (tmp_path / name, EPS, io.BytesIO(EPS), Image.open(io.BytesIO(EPS))):
        with pytest.raises(ImageInputError, match=r"EPS .*convert it to PNG or JPEG"):
            read_images(image)


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "DDS"])
def test_other_formats_are_refused_by_name(kind: str) -> None:
    data = encoded(SCENE, kind)
    with pytest.raises(ImageInputError, match=r"expected: an image of the formats PNG, JPEG"):
        read_images(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_formats_of_the_list_are_read(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        assert kind == "AVIF", "a build of PIL without AVIF"
        return
    assert np.abs(pixels(encoded(SCENE, kind)).astype(int) - np.asarray(SCENE)).mean() < 12
    assert name_format(encoded(SCENE, kind)[:32]) in FORMATS


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(20_000, 20_000), (20_000, 9_000), (50_000, 3_600)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("decoded"))
    assert size[0] * size[1] > MAX_PIXELS
    with pytest.raises(ImageInputError, match=rf"{MAX_PIXELS:,} in all"):
        read_images(bomb(*size))


def test_a_message_quotes_little_of_its_input() -> None:
    long = "A" * 100_000
    for image in (long, f"data:image/png;base64,{long}", f"data:{long}", {"type": long}, f"https://{long}.invalid/"):
        with pytest.raises(ImageInputError) as caught:
            read_images(image)
        assert str(caught.value).count("A") <= 200


class Server(http.server.BaseHTTPRequestHandler):
    """Serves one image, a page, a redirection to a file, and what is too large."""

    def do_GET(self) -> None:
        status, body, headers = {
            "/a.png": (200, encoded(), {}),
            "/moved": (302, b"", {"Location": "/a.png"}),
            "/local": (302, b"", {"Location": "file:///etc/hostname"}),
            "/page": (200, b"<html>words</html>" * 4, {}),
            "/slow": (200, b"", {}),
            "/large": (200, b"\0" * 3_000_000, {}),
        }.get(self.path, (404, b"", {}))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        with contextlib.suppress(OSError):  # the client has gone
            for _ in range(40 * (self.path == "/slow")):
                self.wfile.write(b"\x89PNG")
                time.sleep(0.05)

    def log_message(self, *_: Any) -> None:
        """Be silent."""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_urls(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same(f"{address}/a.png")
    assert same({"type": "image", "url": f"{address}/moved"})
    traced = lv.trace(lv.load("tiny"), f"{address}/a.png", "Describe the image.", max_new_tokens=2, progress=False)
    assert traced.provenance["images"][0]["name"] == "a.png"
    monkeypatch.setattr(image_sources, "MAX_BYTES", 1_000_000)
    for page, match in [
        ("none", "HTTP Error 404: Not Found from http"),
        ("page", "bytes of no known image format in http"),
        ("local", "file:///etc/hostname"),
        ("large", "1,000,000 bytes at most"),
    ]:
        with pytest.raises(ImageInputError, match=match):
            read_images(f"{address}/{page}")
    with pytest.raises(ImageInputError, match="Connection refused from http://127"):
        read_images("http://127.0.0.1:9/a.png")
    monkeypatch.setattr(image_sources, "TIMEOUT", 0.3)
    with pytest.raises(ImageInputError, match=r"more than 0.3 seconds from http.*check the URL, or download the image"):
        read_images(f"{address}/slow")
    gc.collect()  # a connection that a refused answer left open warns here


def test_an_image_in_a_trace_file_goes_through_the_same_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = lv.trace(lv.load("tiny"), SCENE, "Describe the image.", max_new_tokens=2, progress=False)
    traced.save(tmp_path / "a.safetensors")
    assert same(lv.load_trace(tmp_path / "a.safetensors").images[0])
    monkeypatch.setattr(
        "lvlmscope.traces.trace_file._encode", lambda _: torch.frombuffer(bytearray(EPS), dtype=torch.uint8)
    )
    traced.save(tmp_path / "b.safetensors")
    with pytest.raises(TraceFileError, match=r"load the trace .*EPS"):
        lv.load_trace(tmp_path / "b.safetensors")
