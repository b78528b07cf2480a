"""What `causeway up` was told of an identity provider, read and checked before anything starts."""

from __future__ import annotations

import tomllib

from causeway.cli.host import OidcFlags
from causeway.model.errors import InvalidInput
from causeway.web.identity import OidcSettings, rules_of
from causeway.web.provider import checked_url


def oidc_settings(flags: OidcFlags) -> OidcSettings | None:
    """Read what `causeway up` was told of an identity provider; nothing without an issuer."""
    if not flags.oidc_issuer:
        return None
    if not flags.oidc_client_id or flags.oidc_rules is None:
        raise InvalidInput(
            "a login through a provider needs its client id and the rules of who may do what",
            hint="give --oidc-client-id and --oidc-rules",
            where="--oidc-issuer",
        )
    secret_file = flags.oidc_client_secret_file
    try:
        secret = secret_file.read_text("utf-8").strip() if secret_file else ""
        rules = tomllib.loads(flags.oidc_rules.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"the login's files cannot be read: {error}") from None
    for flag, url in (("issuer", flags.oidc_issuer), ("public-url", flags.oidc_public_url)):
        if url:
            checked_url(url, f"--oidc-{flag}")
    return OidcSettings(
        issuer=flags.oidc_issuer,
        client_id=flags.oidc_client_id,
        client_secret=secret,
        rules=rules_of(rules, str(flags.oidc_rules)),
        public_url=flags.oidc_public_url,
    )
