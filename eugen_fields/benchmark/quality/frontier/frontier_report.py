"""Tables and verdict of `eugen-bench frontier`."""

from __future__ import annotations

import statistics

from eugen_fields.benchmark.common.markdown import spread, table
from eugen_fields.benchmark.quality.frontier.frontier_contestants import DENSE, DENSE_POSITION, known
from eugen_fields.benchmark.quality.frontier.frontier_verdict import (
    COSTS,
    ON_LINE,
    Point,
    Run,
    Verdict,
    by_setting,
    points,
    verdicts,
)
from eugen_fields.benchmark.quality.scenes.scenes_report import by_scene

TITLE = "At equal cost, which network renders best?"
ABOUT = (
    "Networks of `eugen-nerf-tiny` (4 hidden layers; 128 neurons where nothing else is said), all trained by the "
    "method's default optimiser at the rates of their kind; mean PSNR over the test views and seeds. Multiplications "
    "are those of the folded networks for one sample, colour head included. Bytes are what must be stored in float32: "
    "the trained form or the folded one, whichever is smaller, and of a random matrix its seed.",
    "A network that is shrunk from dense has two thirds of the steps in the training of a dense one of 128 neurons, "
    "and the others in fine-tuning on its renders. Fast transforms of PRP-Hadamard consist of additions, which are not "
    "counted; at these widths a product with the whole matrix takes less time.",
)
"""What stands before the tables in the report of results."""
_READING = (
    "Between two dense networks the line at equal cost is straight over the logarithm of the cost; within "
    f"{ON_LINE:g} dB below counts as on it. ≤ marks a network that costs more than all dense ones and is set against "
    "the largest; one that costs less than all has no entry. Collapsed trainings count as they are, but not those of "
    "dense networks in the line."
)


def markdown_report(runs: list[Run]) -> str:
    """For each setting the verdict, and a table for each scene with one row per network."""
    parts = []
    for setting, group in by_setting(runs).items():
        parts += [f"**{setting}**", *filter(None, [sentences(group)]), *_verdict_tables(group)]
        for scene, of_scene in by_scene(group).items():
            parts += [f"{scene}, {setting}:", scene_table(of_scene)]
    if any(verdicts(group, "multiplications", DENSE) for group in by_setting(runs).values()):
        parts.insert(0, _READING)
    gone = len(runs) - len(known(runs))
    if gone:
        parts.append(f"Left out: {gone} result{'s' if gone > 1 else ''} of networks that are no longer contestants.")
    return "\n\n".join(parts)


def scene_table(runs: list[Run]) -> str:
    """One row per network on a scene, the fewest multiplications first."""
    heads = ("network", *COSTS.values(), "PSNR (dB)", "SSIM", "seeds", "s", "collapsed", "recoveries")
    return table(heads, [_row(point) for point in points(runs, "multiplications") if not point.fast])


def _row(point: Point) -> tuple[str, ...]:
    runs, first = point.runs, point.runs[0]
    multiplications = f"{point.cost:,}"
    if first["transform_multiplications"] != first["multiplications"]:
        multiplications += f" ({first['transform_multiplications']:,} with fast transforms)"
    return (
        point.title,
        multiplications,
        *(f"{first[name]:,}" for name in list(COSTS)[1:]),
        spread([run["psnr"] for run in runs], 2),
        f"{statistics.mean(run['ssim'] for run in runs):.4f}",
        str(len(runs)),
        f"{statistics.mean(run['train_seconds'] for run in runs):.0f}",
        f"{point.collapsed} of {len(runs)}",
        str(sum(run["recoveries"] for run in runs)),
    )


def sentences(runs: list[Run]) -> str:
    """Which networks of one setting hold against dense ones, an item of a list for each cost."""
    found = {cost: [verdict for verdict in verdicts(runs, cost, DENSE) if verdict.decided] for cost in COSTS}
    return "\n".join(f"- At equal {COSTS[cost]} {_sentence(of)}" for cost, of in found.items() if of)


def _sentence(of: list[Verdict]) -> str:
    good = [verdict for verdict in of if verdict.reached]
    if not good:
        return "all are below dense networks on every scene."
    named = "; ".join(f"{verdict.title} ({_count(verdict)})" for verdict in good)
    rest = len(of) - len(good)
    others = f" Below on every scene: {rest} other{'s' if rest > 1 else ''}." if rest else ""
    return f"these are as good as dense networks or better: {named}.{others}"


def _count(verdict: Verdict) -> str:
    return f"{verdict.reached} of {verdict.decided} scene{'s' if verdict.decided > 1 else ''}"


def _verdict_tables(runs: list[Run]) -> list[str]:
    parts = []
    for family, cost in ((DENSE, "multiplications"), (DENSE, "compact_bytes"), (DENSE_POSITION, "multiplications")):
        found = verdicts(runs, cost, family)
        if any(gap is not None for verdict in found for gap in verdict.gaps.values()):
            parts += [f"PSNR above that of `{family.title}` at equal {COSTS[cost]} (dB):"]
            parts += [_verdict_table(found, COSTS[cost])]
    return parts


def _verdict_table(of: list[Verdict], cost: str) -> str:
    scenes = list(dict.fromkeys(scene for verdict in of for scene in verdict.gaps))
    rows = []
    for verdict in of:
        cells = [verdict.gaps.get(scene) for scene in scenes]
        mean = "" if verdict.mean is None else f"{verdict.mean:+.2f}"
        reached = _count(verdict) if verdict.decided else ""
        rows.append((verdict.title, f"{verdict.cost:,}", *("" if c is None else str(c) for c in cells), mean, reached))
    return table(("network", cost, *scenes, "mean", "as good or better"), rows)
