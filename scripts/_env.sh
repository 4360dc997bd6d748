# Sourced by the scripts: finds the checkout and keeps its environment, .venv, as pyproject.toml asks.
#
#   ensure EXTRA    leave .venv with the package and that extra installed ("bare": no extra)
#
# Needs Python 3.11 or newer: python3, or the one that $PYTHON names. Says nothing when there is nothing to do.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
unfinished=$venv/.unfinished # there while a set-up works, and after one that was killed

say() { printf 'twinstep: %s\n' "$*" >&2; }

ensure() {
    fresh "$1" && return
    local python=${PYTHON:-python3}
    check_python "$python"
    (
        lock "$python"
        fresh "$1" || install "$1" "$python" # another script may have done it while this one waited
    ) 9<"$root"
}

# Everything an installation depends on. A copy of it is the stamp that an extra is installed.
recipe() { printf '%s\n' "$root" && cat "$root/pyproject.toml"; }

stamped() { recipe | cmp -s - "$venv/.installed-$1"; }

fresh() { # the extra dev holds all that the scripts use
    [[ -x $venv/bin/python && ! -e $unfinished ]] && asked_python && { stamped "$1" || stamped dev; }
}

version() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }

asked_python() { [[ -z ${PYTHON:-} || $(version "$PYTHON") == "$(version "$venv/bin/python")" ]]; }

check_python() {
    local found
    found=$(version "$1") || found=
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    say "needs Python 3.11 or newer, but $1 is ${found:-not there}."
    say "Install one, or name one: PYTHON=python3.12 $0"
    exit 1
}

# Lock the checkout through file descriptor 9. The lock lives as long as this shell or a child holds the descriptor,
# so it ends with them however they end, and a killed script's pip still keeps others out.
lock() {
    "$1" - <<'PYTHON'
import fcntl
import sys

try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.stderr.write("twinstep: waiting for another script that is setting up .venv\n")
    fcntl.flock(9, fcntl.LOCK_EX)
PYTHON
}

install() {
    local extra=$1 python=$2 target=. anew= stamp
    [[ $extra == bare ]] || target=".[$extra]"
    say "setting up .venv ($extra); the first time takes a minute"
    [[ ! -e $unfinished && $(version "$venv/bin/python") == "$(version "$python")" ]] || anew=yes
    mkdir -p "$venv"
    : >"$unfinished" # stays until all is well, even while the rest is cleared away
    [[ -z $anew ]] || find "$venv" -mindepth 1 ! -name .unfinished -delete
    "$python" -m venv "$venv" >&2
    cd "$root" # pip misreads a path that has brackets in it
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip install --quiet --no-input --editable "$target" >&2
    for stamp in "$venv"/.installed-*; do
        recipe | cmp -s - "$stamp" || rm -f "$stamp"
    done
    recipe >"$venv/.installed-$extra"
    rm "$unfinished"
}
