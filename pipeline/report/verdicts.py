"""The first screen of a dataset's report: one line for each thing worth checking."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from facemill.manifests.checks.sample_rows import Rows
from facemill.manifests.shards.summary import Summary
from facemill.pipeline.audit.findings import Audit
from facemill.pipeline.audit.shortcuts import ALL_METHODS, LIMIT, TOGETHER

__all__ = ["Verdict", "in_order", "verdicts"]

_FAILED = 0.05
"""Share of videos without a crop above which the dataset is incomplete: `build` ends with an error there, too."""
_ENLARGED, _MANY = 2.0, 0.1
"""Enlargement from which a crop shows little detail, and share of such crops that is worth a look."""


@dataclass(frozen=True)
class Verdict:
    """A line.

    Attributes:
        level: `good`, `look` or `bad`.
        thing: what was checked.
        says: what was found.
        anchor: id of the part of the page that shows more.
    """

    level: str
    thing: str
    says: str
    anchor: str

    @property
    def word(self) -> str:
        """The level for people."""
        return {"good": "Fine", "look": "Look", "bad": "Problem"}[self.level]


def verdicts(summary: Summary, audit: Audit, rows: Rows) -> list[Verdict]:
    """All lines about a dataset, in order."""
    found = [
        *_yield(summary),
        *_of_findings(audit, {"classes"}, "bad", "Classes", "Each split has reals and fakes.", "contents"),
        *_of_findings(
            audit, {"shared", "duplicate"}, "bad", "Splits",
            "No video, original, subject or nearly equal crop is in two splits.", "contents",
        ),
        *_shortcuts(audit),
        *_of_findings(
            audit, {"real_is_fake", "real_file_is_fake", "blank_images", "colour_tells"}, "bad", "Pictures",
            "No real equals a fake, none is blank, and colours do not tell fakes.", "brightness",
        ),
        *_masks(audit, rows),
        *_sizes(rows),
        *_pairs(rows),
    ]  # fmt: skip
    return in_order(found)


def in_order(found: Iterable[Verdict]) -> list[Verdict]:
    """Problems first, then what deserves a look."""
    return sorted(found, key=lambda one: ("bad", "look", "good").index(one.level))


def _yield(summary: Summary) -> Iterator[Verdict]:
    sampled = sum(count.videos for count in summary.samples)
    lost = summary.videos - sampled
    if not lost:
        yield Verdict("good", "Yield", f"All {summary.videos:,} videos have crops.", "failures")
        return
    why = f", most often for {summary.failures[0].reason.replace('_', ' ')}" if summary.failures else ""
    share = lost / max(summary.videos, 1)
    says = f"{lost:,} of {summary.videos:,} videos ({share:.1%}) have no crop{why}."
    yield Verdict("bad" if share > _FAILED else "look", "Yield", says, "failures")


def _of_findings(
    audit: Audit, kinds: Iterable[str], level: str, thing: str, otherwise: str, anchor: str
) -> Iterator[Verdict]:
    found = [one for one in audit.findings if one.kind in kinds]
    for one in found:
        sure = "" if one.sure == "certain" else f" ({one.sure})"
        yield Verdict(level, thing, f"{one.message[:1].upper()}{one.message[1:]}{sure}.", anchor)
    if not found:
        yield Verdict("good", thing, otherwise, anchor)


def _shortcuts(audit: Audit) -> Iterator[Verdict]:
    measured = [one for every in audit.shortcuts.values() for one in every if one.method == ALL_METHODS]
    if not measured:
        says = "There are too few originals to say whether a column predicts the label."
        yield Verdict("look", "Shortcuts", says, "figures")
        return
    best = max(measured, key=lambda one: one.auc)
    column = "all columns together" if best.column == TOGETHER else best.column
    if best.auc > LIMIT and not best.found:
        of = "" if best.interval is None else f" (95 %: {best.interval[0]:.2f} to {best.interval[1]:.2f})"
        says = f"Not certain: without the face, the label is predicted by {column}, with an AUC of {best.auc:.2f}{of}."
        yield Verdict("look", "Shortcuts", says, "figures")
    fine = f"No column predicts the label without the face: at most {column}, with an AUC of {best.auc:.2f}."
    if best.auc <= LIMIT or any(one.kind == "shortcut" for one in audit.findings):
        yield from _of_findings(audit, {"shortcut"}, "bad", "Shortcuts", fine, "figures")


def _masks(audit: Audit, rows: Rows) -> Iterator[Verdict]:
    fakes, coverage = rows.equal("label", 1), rows.numbers("mask_coverage").astype(np.float64)
    lacking = int((fakes & ~np.isfinite(coverage)).sum())
    if not fakes.any():
        return
    if lacking:
        says = f"{lacking:,} of {int(fakes.sum()):,} fake crops have no mask: their originals are not known."
        yield Verdict("look", "Masks", says, "mask-coverage")
    known = coverage[fakes & np.isfinite(coverage)]
    if len(known):
        fine = f"None is empty or full; the median covers {np.median(known):.0%} of the crop."
        yield from _of_findings(
            audit, {"empty_masks", "full_masks", "faint_method"}, "look", "Masks", fine, "mask-coverage"
        )


def _sizes(rows: Rows) -> Iterator[Verdict]:
    zoom = np.hypot(*rows.numbers("affine")[:, [0, 3]].T)
    share = float((zoom > _ENLARGED).mean())
    which = f"{share:.1%} of the crops are" if share else "No crop is"
    says = f"{which} enlarged more than {_ENLARGED:g}-fold; the median is {np.median(zoom):.2f}."
    yield Verdict("look" if share > _MANY else "good", "Face size", says, "face-size")


def _pairs(rows: Rows) -> Iterator[Verdict]:
    fakes = rows.equal("label", 1)
    if not fakes.any():
        return
    paired = fakes & rows.paired
    offsets = np.abs(rows.numbers("pair_offset")[paired])
    share = float(paired.sum() / fakes.sum())
    shifted = (
        f"; {int((offsets > 0).sum()):,} are shifted, by up to {int(offsets.max())} frames" if offsets.any() else ""
    )
    which = "All fake crops have" if share == 1 else f"{share:.1%} of the fake crops have"
    says = f"{which} a crop of the same face and moment of their original{shifted}."
    yield Verdict("good" if share == 1 and not shifted else "look", "Pairs", says, "pair-offset")
