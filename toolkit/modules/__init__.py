"""The common set of modules: one paper, one file."""

from toolkit.modules import attention, conv, sampling  # noqa: F401
