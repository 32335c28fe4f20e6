# SPDX-License-Identifier: Apache-2.0
#
# oracle.py PYTHON POLICIES: evaluates policies with crypto-policies itself. PYTHON is the directory
# with its package cryptopolicies, POLICIES that with the policies. Each line of the standard input is
# POLICY:MODULE:…; the standard output is JSON: the results by these names, and the names that this
# release knows. The result for a scope has what differs from that without scopes, "*".
import json
import os
import sys
import tempfile
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
policies = os.path.abspath(sys.argv[2])
warnings.simplefilter("ignore")

from cryptopolicies import UnscopedCryptoPolicy  # noqa: E402
from cryptopolicies import alg_lists, cryptopolicies  # noqa: E402

os.chdir(tempfile.gettempdir())  # where no policies are, as those in . come first


def scopes():
    yield "*", set()
    for name, value in cryptopolicies.DUMPABLE_SCOPES.items():
        yield name, value[1] if isinstance(value, tuple) else value


def evaluate(name):
    policy = UnscopedCryptoPolicy(*name.split(":"), policydir=policies)
    base, result = {}, {}
    for scope, those in scopes():
        scoped = policy.scoped(those)
        everything = {**scoped.enabled, **scoped.integers, **getattr(scoped, "enums", {})}
        base = base or everything
        result[scope] = {
            "scopes": sorted(those),
            "values": {k: v for k, v in everything.items() if scope == "*" or v != base[k]},
        }
    return result


results = {}
for line in sys.stdin:
    name = line.strip()
    try:
        results[name] = {"scopes": evaluate(name)}
    except (ValueError, AssertionError, FileNotFoundError) as error:
        results[name] = {"error": str(error)}
json.dump({"results": results, "known": alg_lists.ALL}, sys.stdout, separators=(",", ":"))
