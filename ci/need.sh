# Read by other scripts: installs what they need where it may, names it where it may not.

# need COMMAND PACKAGE: a command of a Debian package.
need() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "== installing $2 (for $1)"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$2" >/dev/null
    fi
    command -v "$1" >/dev/null && return
    echo "error: the tests need $1: install Debian's package $2 and run this again" >&2
    exit 1
}

# need_venv DIR IMPORT PACKAGE..: a Python environment with packages in which IMPORT works.
need_venv() {
    local venv="$1" import="$2"
    shift 2
    "$venv/bin/python" -c "import $import" >/dev/null 2>&1 && return
    if ! command -v python3 >/dev/null || ! make_venv "$venv"; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            echo "== installing python3-venv"
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
        fi
        if ! make_venv "$venv"; then
            echo "error: missing: python3 with venv and pip; install Debian's package python3-venv" >&2
            exit 1
        fi
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

make_venv() {
    rm -rf "$1"
    python3 -m venv "$1" >/dev/null 2>&1 && "$1/bin/python" -m pip --version >/dev/null 2>&1
}
