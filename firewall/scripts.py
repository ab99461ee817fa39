"""apply.sh and undo.sh: load with a test before, a backup, and a way back that survives a lost connection.

In: which backend and which vantage. Out: two POSIX shell scripts that stand beside the rule files. Nothing from a
capture or a policy is in them: they name files and our own chains only, so no name can become a command. apply.sh:
test load in a throw-away namespace, save, start the timer (detached), load, hook once, ask; without a "yes" in time the
timer goes back. undo.sh removes what is ours and nothing else. Must not run anything itself.
"""

from __future__ import annotations

from firewall.lower import CHAINS
from firewall.rules import Vantage

CONFIRM_S = 60
STATE = "/var/lib/tapwall"  # saved state and tokens; TAPWALL_STATE overrides
PREFIX = "TAPWALL"  # every chain of ours begins so

_HEAD = """#!/bin/sh
# {purpose}
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
state=${{TAPWALL_STATE:-{state}}}
backend=${{TAPWALL_BACKEND:-{backend}}}
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL
hooks='{hooks}'
"""

_UNDO = r"""
# -- removing what is ours -------------------------------------------------------------------------------------------
remove_family() { # iptables | ip6tables, nft's family word
    command -v "$1" >/dev/null 2>&1 || return 0
    "$1-save" -t filter 2>/dev/null | grep -- '-j TAPWALL' | grep -v '^-A TAPWALL' | sed 's/^-A/-D/' | while read -r rule; do
        # shellcheck disable=SC2086
        "$1" -w $rule
    done
    chains=$("$1-save" -t filter 2>/dev/null | sed -n 's/^:\(TAPWALL[A-Z0-9-]*\) .*/\1/p')
    for chain in $chains; do "$1" -w -F "$chain"; done
    for chain in $chains; do "$1" -w -X "$chain"; done
    # a table that did not exist before, and is empty again, goes as well: iptables-save then prints what it printed
    if [ -e "$state/tables.$1" ] && ! grep -q '^\*filter' "$state/tables.$1" && command -v nft >/dev/null 2>&1; then
        "$1-save" -t filter 2>/dev/null | grep -q '^-A\|^:.* DROP ' || nft delete table "$2" filter 2>/dev/null || true
    fi
}
remove_all() {
    if command -v nft >/dev/null 2>&1; then
        nft -f - <<'TAPWALL_END'
add table inet tapwall
delete table inet tapwall
TAPWALL_END
    fi
    remove_family iptables ip
    remove_family ip6tables ip6
    if command -v ipset >/dev/null 2>&1; then
        ipset list -n 2>/dev/null | grep '^tw[46]-' | while read -r set; do ipset destroy "$set"; done || true
    fi
}
"""

_APPLY = r"""
wait_s=${TAPWALL_CONFIRM_S:-@CONFIRM@}
case $wait_s in *[!0-9]* | '') echo "apply.sh: TAPWALL_CONFIRM_S: got '$wait_s', expected seconds" >&2; exit 2 ;; esac
[ "$(id -u)" = 0 ] || { echo 'apply.sh: needs root' >&2; exit 2; }
mkdir -p "$state"

# -- loading ---------------------------------------------------------------------------------------------------------
load() { # directory, hook or nohook
    if [ "$backend" = nft ]; then
        nft -f "$1/rules.nft"
        return
    fi
    if [ -s "$1/rules.ipset" ]; then ipset restore -exist < "$1/rules.ipset"; fi
    iptables-restore -w -n < "$1/rules.v4"
    ip6tables-restore -w -n < "$1/rules.v6"
    [ "$2" = hook ] || return 0
    for command in iptables ip6tables; do
        for pair in $hooks; do
            base=${pair%%:*} chain=${pair##*:}
            "$command" -w -C "$base" -j "$chain" 2>/dev/null || "$command" -w -I "$base" -j "$chain"
        done
    done
}
save() { # directory
    mkdir -p "$1"
    iptables-save > "$1/before.v4" 2>/dev/null || : > "$1/before.v4"
    ip6tables-save > "$1/before.v6" 2>/dev/null || : > "$1/before.v6"
    nft list table inet tapwall > "$1/before.nft" 2>/dev/null || : > "$1/before.nft"
    ipset save 2>/dev/null | grep -E '^(create|add) tw[46]-' > "$1/before.ipset" || : > "$1/before.ipset"
}
own() { # saved file: our chains of the filter table, as a restore file
    grep -q '^:TAPWALL' "$1" || return 0
    echo '*filter'
    sed -n '/^\*filter/,/^COMMIT/p' "$1" | sed -n 's/^\(:TAPWALL[^ ]*\) .*/\1 - [0:0]/p; /^-A TAPWALL/p'
    echo COMMIT
}
go_back() { # directory of the save
    remove_all
    if [ -s "$1/before.nft" ]; then nft -f "$1/before.nft"; fi
    if [ -s "$1/before.ipset" ]; then ipset restore -exist < "$1/before.ipset"; fi
    for pair in v4:iptables v6:ip6tables; do
        file=$1/before.${pair%%:*} command=${pair##*:}
        grep -q '^:TAPWALL' "$file" || continue
        own "$file" | "$command-restore" -w -n
        sed -n '/^\*filter/,/^COMMIT/p' "$file" | grep -- '-j TAPWALL' | grep -v '^-A TAPWALL' | sed 's/^-A/-I/' | while read -r rule; do
            # shellcheck disable=SC2086
            "$command" -w $rule
        done
    done
}

if [ "${1:-}" = --go-back ]; then # what the timer calls
    [ -e "$2/confirmed" ] || { go_back "$2"; : > "$2/gone-back"; }
    exit 0
fi

# 1. does it load at all? In a namespace that is thrown away.
if unshare -n true 2>/dev/null; then
    unshare -n sh -c '
        set -eu
        if [ "$2" = nft ]; then exec nft -f "$1/rules.nft"; fi
        if [ -s "$1/rules.ipset" ]; then ipset restore -exist < "$1/rules.ipset"; fi
        iptables-restore -n < "$1/rules.v4"
        ip6tables-restore -n < "$1/rules.v6"
    ' test "$here" "$backend" || { echo 'apply.sh: the rules do not load; nothing was changed' >&2; exit 1; }
else
    echo 'apply.sh: no namespace to test the load in' >&2
fi

# 2. save what is loaded; what tables exist is noted once, before the first load
saved=$state/save.$$
rm -rf "$saved"
save "$saved"
for command in iptables ip6tables; do
    if [ ! -e "$state/tables.$command" ]; then
        case $command in iptables) file=$saved/before.v4 ;; *) file=$saved/before.v6 ;; esac
        grep '^\*' "$file" > "$state/tables.$command" || : > "$state/tables.$command"
    fi
done

# 3. the way back is armed before anything is loaded, in a session of its own: it survives a lost connection
if [ "$wait_s" -gt 0 ]; then
    setsid sh -c 'sleep "$1"; sh "$2" --go-back "$3"; kill -TERM "$4" 2>/dev/null' timer "$wait_s" "$here/apply.sh" "$saved" "$$" </dev/null >/dev/null 2>&1 &
    trap 'echo "apply.sh: not confirmed in time, the old rules are back" >&2; exit 1' TERM
fi

# 4. load
if ! load "$here" hook; then
    echo 'apply.sh: loading failed, going back' >&2
    go_back "$saved"
    : > "$saved/confirmed"
    exit 1
fi
if [ "$wait_s" -eq 0 ]; then
    echo 'rules are loaded' >&2
    exit 0
fi

# 5. confirm
echo "rules are loaded; type yes within $wait_s s to keep them, or: touch $saved/confirmed" >&2
if ! read -r answer; then
    echo 'apply.sh: nobody to ask; the timer decides' >&2
    exit 0
fi
[ ! -e "$saved/gone-back" ] || { echo 'apply.sh: too late, the old rules are back' >&2; exit 1; }
: > "$saved/confirmed"
if [ "$answer" != yes ]; then
    go_back "$saved"
    echo 'apply.sh: not confirmed, the old rules are back' >&2
    exit 1
fi
echo 'kept' >&2
"""

_UNDO_RUN = r"""
[ "$(id -u)" = 0 ] || { echo 'undo.sh: needs root' >&2; exit 2; }
remove_all
rm -f "$state/tables.iptables" "$state/tables.ip6tables"
echo 'tapwall rules are removed' >&2
"""


def apply_sh(vantage: Vantage, backend: str = "iptables") -> str:
    """The script that loads the files beside it."""
    return (
        _head("Loads the rules beside this file; goes back unless confirmed.", vantage, backend)
        + _UNDO
        + _APPLY.replace("@CONFIRM@", str(CONFIRM_S))
    )


def undo_sh(vantage: Vantage, backend: str = "iptables") -> str:
    """The script that removes what is ours."""
    return _head("Removes tapwall's rules and nothing else.", vantage, backend) + _UNDO + _UNDO_RUN


def _head(purpose: str, vantage: Vantage, backend: str) -> str:
    return _HEAD.format(purpose=purpose, state=STATE, backend=backend, hooks=" ".join(_hooks(vantage)))


def _hooks(vantage: Vantage) -> list[str]:
    """ "INPUT:TAPWALL-IN" …; in front of containers the base is Docker's chain for its users."""
    if vantage is Vantage.DOCKER:
        return [f"DOCKER-USER:{chain}" for chain, _, _ in CHAINS[vantage]]
    return [f"{hook.value.upper()}:{chain}" for chain, _, hooks in CHAINS[vantage] for hook in hooks]
