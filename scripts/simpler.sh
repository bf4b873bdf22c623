#!/usr/bin/env bash
# Adds to .venv what the SIMPLER tasks need (ManiSkill 3), and sees to it that SAPIEN can draw: scripts/simpler.sh
#
# SAPIEN draws with a GPU and its driver, or in software with Mesa 24.3 or later. Debian 12 has 22.3: there, and only
# there, as root, Mesa is taken from bookworm-backports. Elsewhere this says what to do. A second run does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PY=.venv/bin/python
LOG=.venv/simpler.log
MESA=mesa-vulkan-drivers

say() { printf 'simpler: %s\n' "$*"; }
die() {
    printf 'simpler: ERROR: %s\n' "$*" >&2
    exit 1
}
draws() { "$PY" -c 'import sys; from envs.simpler.backend import render_backend; print(render_backend())' >>"$LOG" 2>&1; }

debian_12() { [ -r /etc/os-release ] && (. /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ]); }
mirror_stanza() { # the first entry of the system's own package sources, for the backports suite
    local file
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -s "$file" ] || continue # ours is there already, and empty
        awk 'BEGIN { RS = ""; ORS = "\n\n" } /Suites:.*bookworm/ && !/security/ { print; exit }' "$file" |
            sed '/^#/d; s/^Suites:.*/Suites: bookworm-backports/'
    done | awk 'BEGIN { RS = ""; ORS = "\n" } NR == 1'
}
mesa_from_backports() {
    local list=/etc/apt/sources.list.d/foresight-backports.sources
    if ! apt-cache policy "$MESA" 2>/dev/null | grep -q 'backports'; then
        say "adding the package source bookworm-backports ($list)"
        mirror_stanza >"$list"
        [ -s "$list" ] || { rm -f "$list" && die "no package source for Debian 12 found in /etc/apt/sources.list.d; add bookworm-backports by hand, then: apt-get install -t bookworm-backports $MESA"; }
    fi
    apt-get update -qq >>"$LOG" 2>&1 || die "apt-get update failed ($(tail -n 1 "$LOG"))"
    say "installing $MESA from bookworm-backports"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -t bookworm-backports "$MESA" >>"$LOG" 2>&1 ||
        die "apt-get failed ($(tail -n 1 "$LOG")); run: apt-get install -t bookworm-backports $MESA"
}

[ -x "$PY" ] || die "no .venv; run make setup first"
: >"$LOG"
if ! "$PY" -c 'import mani_skill, ruckig' >>"$LOG" 2>&1; then
    say "installing ManiSkill 3 and what it needs (pip's words are in $LOG)"
    "$PY" -m pip --no-input install -c constraints.txt -e '.[simpler]' >>"$LOG" 2>&1 ||
        die "pip failed ($(grep -m 1 ERROR "$LOG" || tail -n 1 "$LOG"))"
    "$PY" -m pip check >>"$LOG" 2>&1 || die "pip check failed; see $LOG"
fi
if ! draws; then
    if debian_12 && [ "$(id -u)" = 0 ]; then
        mesa_from_backports
    elif debian_12; then
        die "SAPIEN cannot draw: Debian 12 has Mesa 22.3, it needs 24.3; run: sudo make simpler (it takes Mesa from bookworm-backports)"
    else
        die "SAPIEN cannot draw: it needs a GPU with its driver, or Mesa 24.3 or later; install $MESA with your package manager"
    fi
    draws || die "SAPIEN still cannot draw ($(tail -n 1 "$LOG")); see $LOG"
fi
say "ready; assets: $("$PY" -c 'from envs.simpler.assets import asset_folder; print(asset_folder())' 2>/dev/null ||
    echo 'none yet: .venv/bin/python -m envs.simpler.assets downloads them (about 400 files)')"
