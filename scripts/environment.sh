# Prepare .venv with the locked requirements and this package, editable. Sourced from the repository root by the other
# scripts; does nothing when all is up to date. XLIP_PYTHON=/path/to/python chooses the interpreter.

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

# The lock is tested on 3.12 and 3.13: those come first wherever they are, then any other. A name on PATH can be a pyenv
# shim that refuses to run, so every candidate is tried, not just looked up.
find_python() {
    if [ -n "${XLIP_PYTHON:-}" ]; then
        if is_recent "$XLIP_PYTHON"; then
            printf '%s\n' "$XLIP_PYTHON"
            return 0
        fi
        printf '%s\n' "XLIP_PYTHON=$XLIP_PYTHON is not a Python 3.12 or newer that runs." >&2
        return 1
    fi
    pyenv_versions=${PYENV_ROOT:-$HOME/.pyenv}/versions
    for candidate in \
        python3.12 "$pyenv_versions"/3.12*/bin/python3.12 "$HOME"/.pyenv/versions/3.12*/bin/python3.12 \
        python3.13 "$pyenv_versions"/3.13*/bin/python3.13 "$HOME"/.pyenv/versions/3.13*/bin/python3.13 \
        python3 python python3.14 "$pyenv_versions"/*/bin/python3 "$HOME"/.pyenv/versions/*/bin/python3; do
        if is_recent "$candidate"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    if candidate=$(uv python find --system --no-python-downloads '>=3.12' 2>/dev/null) && is_recent "$candidate"; then
        printf '%s\n' "$candidate"
        return 0
    fi
    printf '%s\n' "Python 3.12 or newer is needed and none was found. Looked for:" \
        "  python3.12, python3.13, python3, python and python3.14 on PATH ($PATH)" \
        "  $pyenv_versions/*/bin and $HOME/.pyenv/versions/*/bin" \
        "  what 'uv python find' knows, where uv is installed" \
        "Install one, or name one: XLIP_PYTHON=/path/to/python sh $0" >&2
    return 1
}

install_with_uv() {
    uv --version >/dev/null 2>&1 || return 1
    uv pip install --python .venv/bin/python --require-hashes -r requirements.txt &&
        uv pip install --python .venv/bin/python --no-build-isolation --no-deps -e .
}

install_with_pip() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null || return 1
    .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.txt &&
        .venv/bin/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e .
}

prepare_environment() {
    stamp=$(cat requirements.txt pyproject.toml | cksum)
    place=$(cat .venv/xlip-place 2>/dev/null || :)
    if [ "$place" != "$(pwd)" ] || ! is_recent .venv/bin/python ||
        { [ -n "${XLIP_PYTHON:-}" ] && [ "$(cat .venv/xlip-python 2>/dev/null)" != "$XLIP_PYTHON" ]; }; then
        python=$(find_python) || return 1
        printf '%s\n' "Creating .venv with $("$python" --version) ($python)" >&2
        if ! uv venv --quiet --clear --python "$python" .venv 2>/dev/null; then
            "$python" -m venv --clear .venv || {
                printf '%s\n' "$python cannot create .venv (on Debian and Ubuntu, its venv module is a package of its own)." >&2
                return 1
            }
        fi
        pwd >.venv/xlip-place
        printf '%s\n' "$python" >.venv/xlip-python
    fi
    if [ "$(cat .venv/xlip-stamp 2>/dev/null || :)" != "$stamp" ]; then
        printf '%s\n' "Installing the locked requirements into .venv" >&2
        install_with_uv >&2 || install_with_pip >&2 || {
            printf '%s\n' "The requirements could not be installed; the reason stands above. The same command tries again." >&2
            return 1
        }
        printf '%s\n' "$stamp" >.venv/xlip-stamp
    fi
}

prepare_environment || exit 1
