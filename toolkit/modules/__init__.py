"""The common set of modules: one paper, one file."""

from toolkit.modules import attention, conv, mixer, norm, sampling  # noqa: F401
