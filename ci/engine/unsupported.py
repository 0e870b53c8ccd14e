"""Why this engine lacks what it lacks; what is not listed here is only not there yet."""

_TERMINAL = "the protocol between client and engine has no terminal"
_SOCKET = "a container may run on another machine than the socket"
_RIGHTS = "no container gets more than Docker's default rights"
_NESTED = "a step has no way to the engine"
_INIT = "every step runs beside an idle process 1"
_DAEMON = "the container engine itself pulls and pushes, and does not reach services"
_BUILDER = "the builder of the Docker API has none"
_HOST = "the request is made by this host, which does not reach services by name"

#: By `Type.field` or `Type.field(argument)`.
REASONS = {
    "Container.asService(experimentalPrivilegedNesting)": _NESTED,
    "Container.asService(insecureRootCapabilities)": _RIGHTS,
    "Container.asService(noInit)": _INIT,
    "Container.experimentalWithAllGPUs": _RIGHTS,
    "Container.experimentalWithGPU": _RIGHTS,
    "Container.exportImage(forcedCompression)": "the container engine keeps layers in its own way",
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
    "File.withReplaced(firstFrom)": "how it counts lines is not documented",
    "Host.unixSocket": _SOCKET,
    "Query.git(experimentalServiceHost)": _HOST,
    "Query.git(sshAuthSocket)": "git uses the agent of this host",
    "Query.http(experimentalServiceHost)": _HOST,
    "Service.terminal": _TERMINAL,
}
