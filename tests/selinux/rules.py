# SPDX-License-Identifier: Apache-2.0
"""Prints the rules of a policy for some types, attributes resolved, one rule a line:

    allow SOURCE TARGET CLASS PERMISSION [CONDITION]
    enter SOURCE FILE DOMAIN [CONDITION]
    permissive TYPE
    boolean NAME DEFAULT

usage: rules.py POLICY TYPE...
"""

import sys

import setools

policy = setools.SELinuxPolicy(sys.argv[1])
types = set(sys.argv[2:])
missing = types - {str(t) for t in policy.types()}
if missing:
    sys.exit(f"the policy has no type {' '.join(sorted(missing))}")
members = {str(t): {str(t)} for t in policy.types()}
members |= {str(a): {str(t) for t in a.expand()} & types for a in policy.typeattributes()}


def condition(rule):
    try:
        return f"{rule.conditional}={rule.conditional_block}"
    except setools.exception.RuleNotConditional:
        return ""


for rule in policy.terules():
    if rule.ruletype not in (setools.TERuletype.allow, setools.TERuletype.type_transition):
        continue
    for source in members[str(rule.source)] & types:
        for target in members[str(rule.target)] & types:
            if rule.ruletype == setools.TERuletype.allow:
                for permission in rule.perms:
                    print("allow", source, target, rule.tclass, permission, condition(rule))
            elif rule.tclass == "process":
                print("enter", source, target, rule.default, condition(rule))
for t in policy.types():
    if t.ispermissive:
        print("permissive", t)
for b in policy.bools():
    print("boolean", b, b.state)
