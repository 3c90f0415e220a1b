"""Field files that are damaged, hostile or of another version give one clear line, and take hardly any memory."""

import copy
import functools
import gzip
import hashlib
import json
import random
import resource
import struct
import zlib

import numpy as np
import pytest
import torch
from support.stored_runs import CONES, cone_run, distance_run, full, radiance_run

from eugen_fields.errors import InputError
from eugen_fields.storing import container, load_field
from eugen_fields.storing.compression.planes import planes_of_bits
from eugen_fields.storing.compression.quantise import Quantised
from eugen_fields.storing.compression.rounding import grid_of_bits
from eugen_fields.storing.deflate import gzip_of
from eugen_fields.storing.web import probe_of


def rounded(draft):
    """The bytes of a field file with matrices and planes in 8 bits."""
    matrices = {name: grid_of_bits(draft.numbers[name], 8).rounded(draft.numbers[name]) for name in draft.matrices}
    planes = {
        name: planes_of_bits(value, torch.ones_like(value), 8)
        for name, value in draft.numbers.items()
        if value.dim() == 4
    }
    return draft.encode(Quantised(matrices, planes=planes))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Bytes of field files of some kinds."""
    folder = tmp_path_factory.mktemp("runs")
    runs = (
        radiance_run(folder, layer="eugen", num_features=6, order=2, replace=(2,)),
        radiance_run(folder, layer="prp", rank=2),
        distance_run(folder, layer="eugen-residual", num_features=6),
        cone_run(folder, **CONES["planes"]),
        cone_run(folder, **CONES["cones along an icosahedron"]),
    )
    return [rounded(full(run)[0]) for run in runs]


def parts(data):
    """Header (with the scene as an object) and numbers of a field file."""
    plain = gzip.decompress(data)
    length = int.from_bytes(plain[:8], "little")
    header = json.loads(plain[8 : 8 + length])
    header["__metadata__"]["scene"] = json.loads(header["__metadata__"]["scene"])
    return header, plain[8 + length :]


def joined(header, body):
    """A field file with the right SHA-256, whatever is in it."""
    header = copy.deepcopy(header)
    metadata = header["__metadata__"]
    if not isinstance(metadata.get("scene"), str):
        metadata["scene"] = json.dumps(metadata.get("scene"))
    metadata.setdefault("sha256", "")
    if metadata["sha256"] is not None:
        metadata["sha256"] = hashlib.sha256(metadata["scene"].encode() + body).hexdigest()
    head = json.dumps(header).encode()
    return gzip.compress(len(head).to_bytes(8, "little") + head + body)


def refused(data, path):
    """The message that a file gives; it is one line, names the file, and is no traceback."""
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        load_field(path)
    message = error.value.message
    assert str(path) in message and "\n" not in message and message.isprintable() and len(message) < 400, message
    return message


def test_the_files_themselves_are_opened(files, tmp_path):
    for data in files:
        path = tmp_path / "good.field"
        path.write_bytes(data)
        assert load_field(path).facts["bytes"] == len(data)
        assert refused(joined({**parts(data)[0], "x": 1}, parts(data)[1]), tmp_path / "bad.field")
        path.write_bytes(joined(*parts(data)))  # another gzip, another spacing of the header
        assert load_field(path).facts["bits"]


BAD = [None, True, -1, 1e300, 10**30, "x", "\u202e", [], {}, [[]], {"a": 1}, float("nan"), float("inf"), "9" * 5000]


def mutations(data, count, generator):
    """Files that must not open, by ways in which they are damaged or hostile."""
    header, body = parts(data)
    arrays = [name for name in header if name != "__metadata__"]
    scene = header["__metadata__"]["scene"]
    for index in range(count):
        way = index % 10
        changed, numbers = copy.deepcopy(header), bytearray(body)
        about, array = changed["__metadata__"], generator.choice(arrays)
        if way == 0:  # a byte behind the gzip header
            place = generator.randrange(10, len(data))
            yield data[:place] + bytes([data[place] ^ generator.randrange(1, 256)]) + data[place + 1 :]
            continue
        if way == 1:  # cut off
            yield data[: generator.randrange(len(data))]
            continue
        if way == 2:  # a number changed, but not the SHA-256
            numbers[generator.randrange(len(numbers))] ^= 1 << generator.randrange(8)
            raw = json.dumps({**changed, "__metadata__": {**about, "scene": json.dumps(scene)}}).encode()
            yield gzip.compress(len(raw).to_bytes(8, "little") + raw + bytes(numbers))
            continue
        if way == 3:  # an entry of the scene is something else
            key = generator.choice([name for name in scene if name not in ("measured",)])
            bad = [value for value in BAD if value != scene[key] and not (value == [] and key == "lenses")]
            about["scene"][key] = generator.choice([value for value in bad if not (key in _TEXTS and value == "x")])
        elif way == 4:  # an entry is gone, or one too many is there
            if generator.random() < 0.5:
                del about["scene"][generator.choice(list(scene))]
            else:
                about["scene"]["more"] = generator.choice(BAD)
        elif way == 5:  # an array is described in another way
            entry = changed[array]
            key = generator.choice(list(entry))
            entry[key] = generator.choice([value for value in BAD if value != entry[key]])
        elif way == 6:  # an array has another shape, dtype or name
            entry = changed[array]
            kind = generator.randrange(3)
            if kind == 0:
                entry["shape"] = [*entry["shape"], 1]
            elif kind == 1:
                entry["dtype"] = {"F16": "I8", "I8": "U8", "U8": "I8", "F32": "F16"}[entry["dtype"]]
            else:
                changed[generator.choice(["../" + array, array + ".scale.scale", "A", "x" * 70])] = changed.pop(array)
        elif way == 7:  # a float that is none
            array = generator.choice([name for name in arrays if header[name]["dtype"] == "F16"])
            struct.pack_into(
                "<H", numbers, header[array]["data_offsets"][0], generator.choice([0x7C00, 0x7E00, 0xFC00])
            )
        elif way == 8:  # a stage is something else
            network = generator.choice(list(scene["networks"]))
            stage = generator.choice(about["scene"]["networks"][network])
            key = generator.choice([name for name in stage if name not in ("type", "norm")])
            stage[key] = generator.choice(["f9", "__class__", None, -3, [], ["f9"], ["x", "x"], {"x": 1}, 10**40])
        else:  # the head of the header
            key = generator.choice(["format", "version", "kind", "scene"])
            about[key] = generator.choice(["", "2.0", "0.9", "1", "one", "voxels"])
        yield joined(changed, bytes(numbers))


_TEXTS = ("name", "method", "layer")


def test_three_hundred_mutated_files_are_refused(files, tmp_path):
    generator = random.Random(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = 0
    for data in files:
        for mutated in mutations(data, 60, generator):
            refused(mutated, tmp_path / "mutated.field")
            count += 1
    assert count == 300
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 * 1024, f"{grown} KiB more were in use"


def test_bombs_are_not_inflated(files, tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = gzip.compress(bytes(400 << 20), 9)
    assert len(bomb) < container.MOST_FILE_BYTES
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert "24 MB" in refused(bomb, tmp_path / "bomb.field")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before - used
    assert grown < 50 * 1024
    assert "larger than 8 MB" in refused(bytes(9 << 20), tmp_path / "large.field")


@pytest.mark.parametrize("change, words", [
    ({"version": "2.0"}, "version 2.0"), ({"version": "1"}, "no version"), ({"format": "other"}, "eugen-field"),
    ({"kind": "voxels"}, "kind"), ({"sha256": None}, "sha256"),
])  # fmt: skip
def test_the_head_of_the_header_is_checked(change, words, files, tmp_path):
    header, body = parts(files[0])
    header["__metadata__"] |= change
    assert words in refused(joined(header, body), tmp_path / "x.field")


def test_what_a_later_minor_version_adds_is_passed_over(files, tmp_path):
    header, body = parts(files[0])
    path = tmp_path / "later.field"
    header["__metadata__"]["version"] = "1.7"
    header["__metadata__"]["scene"]["exposure"] = [1.0, {"of": "camera"}]
    header["__metadata__"]["scene"]["networks"]["trunk"][0]["dropout"] = 0.5
    header["shadows"] = {"dtype": "U8", "shape": [4], "data_offsets": [len(body), len(body) + 4]}
    header["trunk.0.shift"] = {"dtype": "F16", "shape": [2], "data_offsets": [len(body) + 4, len(body) + 8]}
    path.write_bytes(joined(header, body + bytes(8)))
    assert load_field(path).facts["name"]
    header["__metadata__"]["version"] = "1.1"
    assert "dropout" not in refused(joined(header, body + bytes(8)), path)
    del header["__metadata__"]["scene"]["networks"]["trunk"][0]["dropout"]
    assert "not known" in refused(joined(header, body + bytes(8)), path)


zipped = functools.partial(gzip.compress, mtime=0)
"""Always the same bytes, as names of tests need them."""


@pytest.mark.parametrize("data, words", [
    (b"", "not a field file"), (b"\x1f\x8b", "too early"), (b"PK\x03\x04" + bytes(100), "not a field file"),
    (zipped(b""), "header"), (zipped(bytes(8)), "header"), (zipped(b"\xff" * 64), "header"),
    (zipped(b"\x02" + bytes(7) + b"{}"), "eugen-field"), (zipped(b"\x02" + bytes(7) + b"[]"), "object"),
    (zipped((60000).to_bytes(8, "little") + b"[" * 60000), "JSON"),
    (zipped((70000).to_bytes(8, "little") + b" " * 70000), "70,000"),
    (zipped(b"\x10" + bytes(7) + b'{"a":1,"a":2}   '), "JSON"),
])  # fmt: skip
def test_what_is_no_field_file_says_so(data, words, tmp_path):
    assert words in refused(data, tmp_path / "x.field")


def test_missing_files_and_folders_say_so(tmp_path):
    for path in (tmp_path / "none.field", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            load_field(path)


def test_nothing_may_follow_the_end(files, tmp_path):
    assert "follow its end" in refused(files[0] + b"x", tmp_path / "x.field")
    assert "follow its end" in refused(files[0] + files[0], tmp_path / "x.field")


def test_hostile_names_stay_text_and_control_characters_are_refused(files, tmp_path):
    header, body = parts(files[0])
    header["__metadata__"]["scene"]["name"] = "</script><img src=x onerror=alert(1)>"
    path = tmp_path / "hostile.field"
    path.write_bytes(joined(header, body))
    assert load_field(path).facts["name"].startswith("</script>")
    for name in ("\x1b[2J", "a\nb", "\u202egpj.field", "\x00", "\ud800", "x" * 201):
        header["__metadata__"]["scene"]["name"] = name
        assert "printable" in refused(joined(header, body), path)


@pytest.mark.parametrize("name, value", [("psnr_after", "high"), ("distance_change", "1"), ("on", 3)])
def test_what_was_measured_is_of_the_kind_that_is_shown(name, value, files, tmp_path):
    header, body = parts(files[0])
    header["__metadata__"]["scene"]["measured"] = {"on": "2 test views", "psnr_before": 30.0, "of": "people"}
    path = tmp_path / "x.field"
    path.write_bytes(joined(header, body))
    assert load_field(path).scene.measured["of"] == "people"
    header["__metadata__"]["scene"]["measured"][name] = value
    assert name in refused(joined(header, body), path)


def test_matrices_from_seeds_are_bounded_before_they_are_drawn(files, tmp_path):
    header, body = parts(files[1])
    stages = header["__metadata__"]["scene"]["networks"]["trunk"]
    stage = next(stage for stage in stages if stage.get("type") == "prp")
    for out, seed in (
        (10**9, "1"),
        (1024, "1" * 30),
        (24, "0" * 20 + "9" * 30),
        (0, "1"),
        (24, "-1"),
        (24, "1e3"),
        (24, 5),
    ):
        stage |= {"out": out, "seed": seed}
        refused(joined(header, body), tmp_path / "x.field")


@pytest.mark.parametrize("change, words", [
    ({"plane_resolutions": [1024] * 8, "plane_channels": 64}, "1,610,612,736 entries; at most 16,777,216"),
    ({"plane_resolutions": [1025]}, "an integer from 2 to 1024"), ({"plane_resolutions": [1]}, "from 2 to"),
    ({"plane_resolutions": [4] * 9}, "1 to 8 sizes"), ({"plane_resolutions": [4.0]}, "not an integer"),
    ({"plane_channels": 65}, "from 1 to 64"), ({"plane_combination": "mean"}, "product, sum"),
    ({"plane_resolutions": [5, 8]}, "no array planes.1 of 1,152 numbers, 18 x 8 x 8"),
    ({"footprint": -1.0}, "footprint"),
])  # fmt: skip
def test_planes_are_bounded_before_they_are_made(change, words, files, tmp_path):
    header, body = parts(files[3])
    header["__metadata__"]["scene"] |= change
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert words in refused(joined(header, body), tmp_path / "x.field")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


def test_planes_lie_where_the_format_says(files, tmp_path):
    path = tmp_path / "x.field"
    path.write_bytes(files[3])
    stored = load_field(path)
    arrays = container.read(path).arrays
    planes = list(stored.field.position_encoding.planes)
    scale, offset = (arrays[f"planes.1.{entry}"].astype(np.float32) for entry in ("scale", "offset"))
    plane, channel, row, column = 2, 3, 7, 4
    place = plane * 6 + channel
    value = offset[place] + scale[place] * arrays["planes.1"][place, row, column]
    assert float(planes[1][plane, channel, row, column]) == pytest.approx(float(value), rel=1e-6)


def test_scales_that_nothing_is_multiplied_with_are_refused(files, tmp_path):
    """Only integers have scales: one of floats would be passed over."""
    for data, name in ((files[0], "trunk.0.bias"), (files[3], "planes.0")):
        header, body = parts(data)
        header[f"{name}.scale.scale"] = {"dtype": "F16", "shape": [2], "data_offsets": [len(body), len(body) + 4]}
        assert "belongs to nothing" in refused(joined(header, body + bytes(4)), tmp_path / "x.field")
    header, body = parts(files[0])
    header["trunk.0.bias.scale"] = {"dtype": "F16", "shape": [2], "data_offsets": [len(body), len(body) + 4]}
    assert "trunk.0.bias.scale belongs to nothing" in refused(joined(header, body + bytes(4)), tmp_path / "x.field")


def test_cameras_have_pictures_that_can_be(files, tmp_path):
    header, body = parts(files[0])
    scene = header["__metadata__"]["scene"]
    scene["lenses"] = [[65536, 65536, 1.0, 1.0, 0.0, 0.0]]
    assert "4,294,967,296 pixels" in refused(joined(header, body), tmp_path / "x.field")
    for lens in ([65536, 1, 3e4, 3e4, 3e4, 0.5], [1, 65536, 3e4, 3e4, 0.5, 3e4]):
        scene["lenses"] = [lens]
        path = tmp_path / "thin.field"
        path.write_bytes(joined(header, body))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert len(probe_of(load_field(path))["color"]) == 3
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_writing_refuses_what_reading_would():
    good = np.zeros((2, 2), np.float16)
    for arrays, words in (
        ({"A": good}, "name"),
        ({"a": good * np.nan}, "NaN"),
        ({"a": good.astype(np.int64)}, "int64"),
        ({"a": np.zeros(25 << 20, np.uint8)}, "bytes of numbers"),
        ({f"a{index}": good for index in range(300)}, "300 arrays"),
    ):
        with pytest.raises(ValueError, match=words):
            container.encode("radiance", {}, arrays)
    with pytest.raises(ValueError):
        container.encode("radiance", {"number": float("nan")}, {})


def test_writes_are_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "scene.field"
    container.write(path, b"content")
    assert path.read_bytes() == b"content" and [path] == list(path.parent.iterdir())
    with pytest.raises(InputError, match="cannot write"):
        container.write(path / "below" / "x.field", b"content")


@pytest.mark.parametrize("seed", range(6))
def test_gzip_of_parts_is_one_member_that_inflates_to_them(seed):
    generator = np.random.default_rng(seed)
    pieces = [
        generator.integers(0, generator.integers(1, 256), generator.integers(0, 3000), dtype=np.uint8).tobytes()
        for _ in range(seed)
    ]
    data = gzip_of(pieces)
    inflater = zlib.decompressobj(31)
    assert inflater.decompress(data) == b"".join(pieces)
    assert inflater.eof and not inflater.unused_data
    assert len(data) <= len(gzip.compress(b"".join(pieces), 9)) + 8 * max(1, seed)
