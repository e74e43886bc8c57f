# Source this in each shell that talks to the cluster: bash or zsh.
# Ray's command line leaves token authentication off unless told; the cluster has it on.
export RAY_AUTH_MODE=token
# Keeps the cluster on 127.0.0.1, as Ray does by itself on macOS and Windows. On Linux it would
# replace that address by the machine's own and listen to the network.
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
_here="$(cd "$(dirname "${BASH_SOURCE[0]:-${(%):-%x}}")/.." && pwd)"
if [ -d "$_here/.venv/bin" ]; then
    export PATH="$_here/.venv/bin:$PATH"
fi
unset _here
