"""What stands beside the core: one module for each third party, imported only by who wants it.

Nothing is imported here, so none of them costs those who use another, and the core never looks in.
"""

from __future__ import annotations


def missing(module: str, package: str, extra: str) -> ImportError:
    """What `module` raises when its third party is not installed: the text names the extra to install."""
    return ImportError(f"{module} needs {package}: pip install 'simple-breaker[{extra}]'", name=module)
