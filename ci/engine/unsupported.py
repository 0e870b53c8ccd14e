"""Why fields and arguments are not supported; those not listed are not implemented yet."""

_TERMINAL = "the session's protocol has no terminal"
_SOCKET = "the container may run on another machine than the socket"
_RIGHTS = "containers have Docker's default privileges only"
_NESTED = "a step cannot reach the engine"
_INIT = "every step runs beside an idle process 1"
_DAEMON = "the container engine itself pulls and pushes, and cannot reach services"
_BUILDER = "the builder of the Docker API does not support it"
_HOST = "this host makes the request, and cannot reach services by name"

#: By `Type.field` or `Type.field(argument)`.
REASONS = {
    "Container.asService(experimentalPrivilegedNesting)": _NESTED,
    "Container.asService(insecureRootCapabilities)": _RIGHTS,
    "Container.asService(noInit)": _INIT,
    "Container.experimentalWithAllGPUs": _RIGHTS,
    "Container.experimentalWithGPU": _RIGHTS,
    "Container.exportImage(forcedCompression)": "the container engine has its own format",
    "Container.from(registryService)": _DAEMON,
    "Container.publish(forcedCompression)": "the container engine compresses what it pushes",
    "Container.publish(registryService)": _DAEMON,
    "Container.terminal": _TERMINAL,
    "Container.up(experimentalPrivilegedNesting)": _NESTED,
    "Container.up(insecureRootCapabilities)": _RIGHTS,
    "Container.up(noInit)": _INIT,
    "Container.withDefaultTerminalCmd(experimentalPrivilegedNesting)": _NESTED,
    "Container.withDefaultTerminalCmd(insecureRootCapabilities)": _RIGHTS,
    "Container.withExec(experimentalPrivilegedNesting)": _NESTED,
    "Container.withExec(insecureRootCapabilities)": _RIGHTS,
    "Container.withExec(noInit)": _INIT,
    "Container.withUnixSocket": _SOCKET,
    "Container.withoutUnixSocket": _SOCKET,
    "Directory.asModule": "this engine runs programs, not modules",
    "Directory.asModuleSource": "this engine runs programs, not modules",
    "Directory.dockerBuild(noInit)": _BUILDER,
    "Directory.dockerBuild(secrets)": _BUILDER,
    "Directory.dockerBuild(ssh)": _BUILDER,
    "Directory.terminal": _TERMINAL,
    "Host.unixSocket": _SOCKET,
    "Query.git(experimentalServiceHost)": _HOST,
    "Query.git(sshAuthSocket)": "git uses this host's SSH agent",
    "Query.http(experimentalServiceHost)": _HOST,
    "Service.terminal": _TERMINAL,
}
