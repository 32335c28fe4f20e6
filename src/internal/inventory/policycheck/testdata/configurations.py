# SPDX-License-Identifier: Apache-2.0
#
# configurations.py RELEASE POLICY[:MODULE]...: prints the configurations that crypto-policies makes of
# its policies, as JSON: of each policy by back end. RELEASE is its source tree or installation.
import json
import os
import sys
import tempfile
import warnings

sys.dont_write_bytecode = True
release = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(release, "python"))
warnings.simplefilter("ignore")

from cryptopolicies import UnscopedCryptoPolicy  # noqa: E402
import policygenerators  # noqa: E402

os.chdir(tempfile.gettempdir())  # where no policies are, as those in . come first
GENERATORS = {
    "openssl": policygenerators.OpenSSLGenerator,
    "openssh-server": policygenerators.OpenSSHServerGenerator,
    "openssh-client": policygenerators.OpenSSHClientGenerator,
    "libssh": policygenerators.LibsshGenerator,
}
configurations = {}
for name in sys.argv[2:]:
    policy = UnscopedCryptoPolicy(*name.split(":"), policydir=os.path.join(release, "policies"))
    configurations[name] = {k: g.generate_config(policy) for k, g in GENERATORS.items()}
json.dump(configurations, sys.stdout)
