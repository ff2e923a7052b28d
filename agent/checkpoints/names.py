"""What the names of files and folders say: whether they are checkpoints, and of which step."""

import re

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")
# These are also used for anything else: they count where the file begins as torch.save's do.
MAYBE_SUFFIXES = (".bin", ".tar", ".model", ".pkl")
SAFETENSORS_SUFFIX = ".safetensors"
UNFINISHED = re.compile(
    r"\.(?:tmp|temp|part|partial|incomplete|unfinished|writing)(?:[._-][\w-]*)?$", re.IGNORECASE
)
_WORD = (
    r"global[_-]?steps?|steps?|iterations?|iters?|iter|checkpoints?|ckpts?|ckpt|updates?|batch|ba"
)
_NAMED = re.compile(rf"(?<![a-z])({_WORD})[=_\-. ]*(\d{{1,15}})(?!\d)", re.IGNORECASE)
_EPOCH = re.compile(r"(?<![a-z])epochs?[=_\-. ]*(\d{1,9})(?!\d)", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"(\d{1,15})(?!.*\d)")
# Of several words in a name the first of these gives the step: epoch=3-step=1200.ckpt is 1200.
_BEST_FIRST = ("global", "step", "iter", "update", "ba", "checkpoint", "ckpt")


def step_in_name(name: str) -> int | None:
    """Return the step that a name says with a word for it, or None.

    >>> step_in_name("epoch=3-step=1200.ckpt"), step_in_name("iter_0000100"), step_in_name("a.pt")
    (1200, 100, None)
    """
    found = [(word.lower(), int(number)) for word, number in _NAMED.findall(_bare(name))]
    for best in _BEST_FIRST:
        for word, number in found:
            if word.startswith(best):
                return number
    return None


def number_in_name(name: str) -> int | None:
    """Return the epoch, else the last number, in a name; a weaker sign than a step."""
    bare = _bare(name)
    if epoch := _EPOCH.search(bare):
        return int(epoch[1])
    last = _LAST_NUMBER.search(bare)
    return int(last[1]) if last else None


def names_a_step(name: str) -> bool:
    """Say whether a folder's name is that of one checkpoint and not of a collection."""
    return step_in_name(name) is not None or _EPOCH.search(name) is not None


def unfinished(name: str) -> bool:
    """Say whether a name is that of something a writer renames when it is whole."""
    return UNFINISHED.search(name) is not None


def _bare(name: str) -> str:
    for suffix in (*TORCH_SUFFIXES, *MAYBE_SUFFIXES, SAFETENSORS_SUFFIX):
        name = name.removesuffix(suffix)
    return name
