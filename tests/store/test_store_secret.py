"""The secret of a store, in the digests of identities: short ones since schema 9, long ones before.

A store is read by SQL and by Python, which have to make the same digest of everything.
"""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profilectl.rules.identity import CODE
from profilectl.rules.sql import identities
from profilectl.rules.sql.values import quote_text

SECRETS = {"long": "0123456789abcdef" * 2, "short": "0123456789abcdef-_'AZz"}
ENVIRONMENTS = ("production", "development")


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@given(
    kind=st.sampled_from(sorted(CODE)),
    environment=st.sampled_from(ENVIRONMENTS),
    key=st.text(max_size=80).filter(lambda key: "\x00" not in key),
)
@example(kind="email", environment="production", key="john.smith@example.com")
def test_sql_and_python_make_the_same_digest(
    connection: duckdb.DuckDBPyConnection, secret: str, kind: str, environment: str, key: str
) -> None:
    in_sql = identities.identity_digest(secret, "$environment", kind, key="$key")
    bound = {"environment": environment, "key": key}
    assert connection.execute(f"select {in_sql}", bound).fetchone() == (
        identities.digest_of(secret, environment, kind, key=key),
    )


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sql_and_python_make_the_same_digest_of_an_mpid(
    connection: duckdb.DuckDBPyConnection, secret: str, environment: str
) -> None:
    in_sql = identities.mpid_hash(secret, quote_text(environment), "(-77)::varchar")
    digest = identities.mpid_hash_of(secret, environment, -77)
    assert connection.execute(f"select {in_sql}").fetchone() == (digest,)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_type_and_environment_are_part_of_the_digest(secret: str) -> None:
    # 1 and 10 and 11 begin alike: a value may begin with a digit, too.
    digests = {
        identities.digest_of(secret, environment, kind, key=key)
        for environment in ENVIRONMENTS
        for kind in CODE
        for key in ("1", "11", "p1", "production:1", ":1", "")
    }
    assert len(digests) == len(ENVIRONMENTS) * len(CODE) * 6


def test_most_identities_take_one_step_of_md5() -> None:
    secret = SECRETS["short"]
    assert identities.is_short(secret)
    longest = max(CODE.values())
    before = len(f"{secret}{longest}p")
    assert before + len("a.common.address@example.com") <= 64 - 9
