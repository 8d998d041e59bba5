"""The limits that docs/concepts/guarantees.md states are those that are enforced."""

from pathlib import Path

from lvlmscope.cli.option_limits import MAX_SEED
from lvlmscope.traces import encoded_images, image_sources, trace_file, trace_header, validated_json


def test_each_stated_limit_is_the_one_in_force(repository: Path) -> None:
    text = (repository / "docs" / "concepts" / "guarantees.md").read_text(encoding="utf-8")
    lines = text.partition("## Limits")[2].partition("## ")[0].strip().splitlines()[2:]
    stated = dict((cell.strip() for cell in line.strip("|").split("|")) for line in lines)
    assert validated_json.MAX_JSON_BYTES == trace_header.MAX_HEADER_BYTES
    mebibytes, seconds = image_sources.MAX_BYTES / 2**20, image_sources.TIMEOUT
    assert stated == {
        "pixels of one image": f"{encoded_images.MAX_PIXELS:,}, counted before it is decoded",
        "pixels of all images in one trace file": f"{trace_file._MAX_PIXELS:,}",
        "bytes of an image from a web address, and the wait for it": f"{mebibytes:g} MiB, {seconds:g} seconds",
        "header of a trace file, and any JSON file that is read": f"{validated_json.MAX_JSON_BYTES / 2**20:g} MiB",
        "seeds on the command line": f"0 to {MAX_SEED:,}",
    }
