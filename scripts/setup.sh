#!/usr/bin/env bash
# Makes .venv with everything Foresight needs: scripts/setup.sh [--dev]   (--dev adds the test and lint tools)
#
# TORCH_INDEX_URL  a wheel index that is used for torch alone, for instance PyTorch's CPU index
# A second run with nothing changed does nothing. What pip prints goes to .venv/setup.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONHOME PYTHONPATH
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_BUILD_CONSTRAINT=constraints.txt # packages that are built from source use the tested setuptools too
SECONDS=0
LOG=.venv/setup.log
PY=.venv/bin/python
NEED_CPU_MB=4000
NEED_CUDA_MB=10000

extras=all
[ "${1:-}" != --dev ] || extras=all,dev

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: ERROR: %s\n' "$*" >&2
    exit 1
}
on_linux() { [ "$(uname -s)" = Linux ]; }
runs() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' >/dev/null 2>&1; }
venv_works() { runs "$PY" && "$PY" -m pip --version >/dev/null 2>&1; }

# --- Already done? ----------------------------------------------------------------------------------------------------
fingerprint() { # what the environment was made from; the path is in it because an editable install points at it
    cat pyproject.toml constraints.txt scripts/setup.sh | cksum
    printf '%s\n' "$PWD"
    "$PY" -V
}
up_to_date() {
    [ -f .venv/setup-stamp ] && runs "$PY" || return 1
    [ -z "${TORCH_INDEX_URL:-}" ] || [ "$(cat .venv/torch-index 2>/dev/null)" = "$TORCH_INDEX_URL" ] || return 1
    local made
    made=$(cat .venv/setup-stamp)
    [ "$made" = "$(fingerprint) $extras" ] || [ "$made" = "$(fingerprint) all,dev" ]
}
if up_to_date; then
    say ".venv is up to date"
    exit 0
fi

# --- Disk -------------------------------------------------------------------------------------------------------------
free_mb() { df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024) }'; }
need_disk() { # need_disk <MB> <folder> <what for>
    local free
    free=$(free_mb "$2")
    [ "$free" -ge "$1" ] || die "$3 needs $1 MB free in $2, which has $free MB; free some space and run make setup again"
}

# --- System packages (apt) ---------------------------------------------------------------------------------------------
SUDO="sudo "
[ "$(id -u)" != 0 ] || SUDO=""
have_apt() { command -v apt-get >/dev/null 2>&1; }
is_root() { [ -z "$SUDO" ]; }
apt_updated=no
apt_update() {
    [ "$apt_updated" = no ] || return 0
    apt-get update -qq >/dev/null 2>&1 || say "apt-get update failed; going on with the package lists that are here"
    apt_updated=yes
}
apt_knows() { # a real package of this name can be installed
    case "$(apt-cache policy "$1" 2>/dev/null)" in
    *"Candidate: (none)"*) return 1 ;;
    *Candidate:*) return 0 ;;
    *) return 1 ;;
    esac
}
system_packages() { # system_packages <why> <package>...: install as root, else say the one command that does it
    local why=$1
    shift
    have_apt || die "$why: install what Debian calls '$*' with your system's package manager, then run make setup again"
    is_root || die "$why; run: sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    say "installing system packages: $*"
    apt_update
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"${TMPDIR:-/tmp}/foresight-apt.log" 2>&1 ||
        die "$why, and apt-get failed ($(tail -n 1 "${TMPDIR:-/tmp}/foresight-apt.log")); run: apt-get update && apt-get install -y --no-install-recommends $*"
}

# --- Python and the virtual environment --------------------------------------------------------------------------------
venv_from_path() { # the first Python 3.11 or 3.12 that really runs and really makes a venv (a pyenv shim may do neither)
    local name python
    for name in python3.11 python3.12 python3; do
        while IFS= read -r python; do
            runs "$python" || continue
            rm -rf .venv
            "$python" -m venv .venv >/dev/null 2>&1 && venv_works && return 0
        done < <(type -ap "$name")
    done
    rm -rf .venv
    return 1
}
apt_python() { # the packages that give a Python with venv here, if any
    local minor
    for minor in 11 12; do
        apt_knows "python3.$minor-venv" && printf 'python3.%s python3.%s-venv' "$minor" "$minor" && return 0
    done
    return 1
}
venv_from_apt() {
    local packages
    have_apt && is_root || return 1
    apt_update
    packages=$(apt_python) || return 1
    # shellcheck disable=SC2086
    system_packages "no working Python 3.11 or 3.12 with venv" $packages
    venv_from_path
}
venv_from_uv() { # uv brings its own Python; any Python with pip can bring uv
    local uv python
    uv=$(command -v uv || true)
    if [ -z "$uv" ]; then
        for python in python3 python3.13 python3.14 python3.10; do
            "$python" -m pip install -q --target cache/uv uv >/dev/null 2>&1 && uv=cache/uv/bin/uv && break
        done
    fi
    [ -n "$uv" ] || return 1
    say "no Python 3.11 or 3.12 here: asking uv for one"
    rm -rf .venv
    "$uv" venv -q --seed --managed-python --python 3.11 .venv 2>/dev/null && venv_works
}
make_venv() {
    venv_works && return 0
    need_disk "$NEED_CPU_MB" . "the environment"
    venv_from_path || venv_from_apt || venv_from_uv && return 0
    have_apt || die "no working Python 3.11 or 3.12; install one (with uv: uv python install 3.11), then run make setup again"
    local packages
    packages=$(apt_python) || packages="python3.11 python3.11-venv"
    die "no working Python 3.11 or 3.12 with venv; run: ${SUDO}apt-get update && ${SUDO}apt-get install -y $packages"
}

# --- pip --------------------------------------------------------------------------------------------------------------
pip() { # what pip prints goes to the log; big downloads are shown, so that a slow one does not look like a hang
    "$PY" -m pip --no-input "$@" 2>&1 | tee -a "$LOG" | awk '
        /^ *Downloading .*\([0-9.]+ [MG]B\)/ { size = $(NF - 1); sub(/\(/, "", size); if (size + 0 >= 50 || $NF ~ /GB/) { print "setup:   " $0; fflush() } }'
}
why_it_failed() { # pip calls an index it cannot reach a conflict of versions; its warnings before that say the truth
    if grep -q 'Errno 28' "$LOG"; then
        echo "no space left on the disk"
    elif grep -qE 'Retrying .*(onnection|resolve|Timeout|unreachable|Proxy)' "$LOG"; then
        echo "the package index cannot be reached"
    else
        grep -m 1 -E '^ *ERROR' <(tail -n 60 "$LOG") || tail -n 1 "$LOG"
    fi
}
pip_or_die() { # pip_or_die <what> <pip arguments>
    local what=$1
    shift
    pip "$@" || die "$what failed: $(why_it_failed); see $LOG, check the network, and run make setup again"
}
downloaded_mb() {
    awk '/^ *Downloading / { unit = $NF; size = $(NF - 1); sub(/\(/, "", size)
         if (unit ~ /^kB/) mb += size / 1000; else if (unit ~ /^MB/) mb += size; else if (unit ~ /^GB/) mb += size * 1000 }
         END { printf "%d", mb }' "$LOG"
}

# --- Libraries pip does not bring --------------------------------------------------------------------------------------
works_here() { "$PY" scripts/check_system.py "$1" >/dev/null 2>&1; }
system_libraries() {
    local packages=() why=()
    if ! works_here egl && ! works_here osmesa; then
        packages+=(libegl1 libegl-mesa0 libgl1-mesa-dri) why+=("rendering without a display")
    fi
    if ! works_here cv2; then
        packages+=(libgl1 "$(apt_knows libglib2.0-0t64 && echo libglib2.0-0t64 || echo libglib2.0-0)") why+=("OpenCV")
    fi
    # robosuite wants pynput, which wants evdev, which has no wheel on Linux: it is compiled here
    if ! "$PY" -c 'import evdev' >/dev/null 2>&1 && ! works_here compiler &&
        ! pip install --dry-run --no-deps --only-binary=:all: -c constraints.txt evdev; then
        packages+=(gcc libc6-dev linux-libc-dev) why+=("compiling evdev")
        works_here headers || packages+=("$("$PY" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')")
    fi
    [ ${#packages[@]} -gt 0 ] || return 0
    local reason
    reason=$(printf '%s, ' "${why[@]}")
    system_packages "system libraries are missing (${reason%, })" "${packages[@]}"
    works_here egl || works_here osmesa || system_packages "EGL cannot be used here, OSMesa is missing" libosmesa6
}

# --- torch first, and pinned: unpinned, other packages pull one that does not fit ---------------------------------------
install_torch() {
    local version plan kind size index=(-c constraints.txt)
    version=$(sed -n 's/^torch==//p' constraints.txt)
    if "$PY" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch').split('+')[0] != '$version')" 2>/dev/null &&
        { [ -z "${TORCH_INDEX_URL:-}" ] || [ "$(cat .venv/torch-index 2>/dev/null)" = "$TORCH_INDEX_URL" ]; }; then
        return 0
    fi
    [ -z "${TORCH_INDEX_URL:-}" ] || index=(--index-url "$TORCH_INDEX_URL" --force-reinstall) # whose other packages may be old
    plan=$("$PY" scripts/torch_plan.py "$version" ${TORCH_INDEX_URL:+"$TORCH_INDEX_URL"} 2>>"$LOG") ||
        die "finding torch $version failed: $(why_it_failed); check the network and the index, and run make setup again"
    kind=${plan%% *} size=${plan#* }
    if [ "$kind" = CUDA ]; then
        say "torch $version is the CUDA build here: about $size MB to download, $NEED_CUDA_MB MB of disk in all"
        say "  without a GPU: make setup TORCH_INDEX_URL=<PyTorch's CPU wheel index> downloads about 200 MB instead"
        need_disk "$NEED_CUDA_MB" . "the environment with CUDA torch"
        need_disk "$((size + 500))" "${TMPDIR:-/tmp}" "downloading CUDA torch"
    else
        say "torch $version: $kind build, $size MB"
        need_disk "$NEED_CPU_MB" . "the environment"
    fi
    pip_or_die "installing torch $version" install "${index[@]}" "torch==$version"
    printf '%s' "${TORCH_INDEX_URL:-}" >.venv/torch-index
}

check_rendering() { # the real thing: one small MuJoCo image; the backend that works is what `make` uses
    local backend
    for backend in egl osmesa; do
        on_linux || backend=cgl
        if MUJOCO_GL=$backend "$PY" scripts/check_system.py render >>"$LOG" 2>&1; then
            printf '%s\n' "$backend" >.venv/mujoco-gl
            say "rendering works (MUJOCO_GL=$backend)"
            return 0
        fi
    done
    die "MuJoCo cannot render, neither with EGL nor with OSMesa (see the end of $LOG); run: ${SUDO}apt-get update && ${SUDO}apt-get install -y libegl1 libegl-mesa0 libgl1-mesa-dri"
}

# --- The stages -------------------------------------------------------------------------------------------------------
say "[1/4] Python"
make_venv
: >"$LOG"
say "$("$PY" -V) in .venv"
pip_or_die "updating pip" install -q -c constraints.txt pip setuptools
say "[2/4] system libraries"
! on_linux || system_libraries
say "[3/4] Python packages (pip's words are in $LOG)"
install_torch
pip_or_die "installing the packages" install -c constraints.txt -e ".[$extras]"
say "[4/4] checks"
pip_or_die "pip check" check
broken=$("$PY" scripts/check_system.py packages 2>>"$LOG") || die "$broken; remove .venv and run make setup again"
check_rendering
printf '%s %s' "$(fingerprint)" "$extras" >.venv/setup-stamp
say "done in $SECONDS s: $(downloaded_mb) MB downloaded, $(du -sm .venv | cut -f 1) MB installed in .venv"
