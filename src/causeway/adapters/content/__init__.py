"""Where content is kept: chunks and manifests by digest. The default is a folder."""
