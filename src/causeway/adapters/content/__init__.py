"""Where content is kept: chunks and manifests by digest. The default is a folder."""

from causeway.adapters.content.store import FolderStore

__all__ = ["FolderStore"]
