"""The servers of the node, in the order in which they start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.request import urlopen

from infra.cluster.layout import (
    ADMIN,
    CONFIGURATION,
    CONTAINERD,
    DNS_ADDRESS,
    NODE,
    NODE_ADDRESS,
    POD_NETWORK,
    SERVICE_NETWORK,
)

_ETCD = "http://127.0.0.1:2379"
_PEER = "http://127.0.0.1:2380"
_PLUGIN_SETTINGS = CONFIGURATION / "cni"

Run = Callable[..., None]
"""Runs a command and raises CalledProcessError when it fails."""


@dataclass(frozen=True, slots=True)
class Component:
    """answers: raises when it does not serve yet."""

    name: str
    command: Sequence[str]
    answers: Callable[[Run], None] = lambda run: None


def write_settings(network_plugins: Path, cgroup: str) -> None:
    """
    Arguments:
        network_plugins: the folder of the programs that give a pod its network.
        cgroup: below which the pods' cgroups are.
    """
    _PLUGIN_SETTINGS.mkdir(parents=True)
    (_PLUGIN_SETTINGS / "10-bridge.conflist").write_text(_NETWORK)
    (CONFIGURATION / "resolv.conf").write_text("")  # nothing outside is asked for names
    (CONFIGURATION / "containerd.toml").write_text(Template(_CONTAINERD).substitute(plugins=network_plugins))
    (CONFIGURATION / "kubelet.yaml").write_text(Template(_KUBELET).substitute(cgroup=cgroup))
    (CONFIGURATION / "proxy.yaml").write_text(_PROXY)


def components() -> list[Component]:
    return [
        Component(
            "containerd",
            ("containerd", "--config", f"{CONFIGURATION}/containerd.toml"),
            lambda run: run("ctr", "--address", CONTAINERD, "version"),
        ),
        Component(
            "etcd",
            (
                "etcd",
                "--data-dir=/var/lib/etcd",
                f"--listen-client-urls={_ETCD}",
                f"--advertise-client-urls={_ETCD}",
                f"--listen-peer-urls={_PEER}",
                f"--initial-advertise-peer-urls={_PEER}",
                f"--initial-cluster=default={_PEER}",
                "--unsafe-no-fsync",  # its data lives no longer than the cluster
            ),
            lambda run: urlopen(f"{_ETCD}/health", timeout=1).close(),
        ),
        Component(
            "kube-apiserver",
            (
                "kube-apiserver",
                f"--etcd-servers={_ETCD}",
                f"--bind-address={NODE_ADDRESS}",
                f"--advertise-address={NODE_ADDRESS}",
                f"--service-cluster-ip-range={SERVICE_NETWORK}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                f"--client-ca-file={CONFIGURATION}/ca.crt",
                *_key_pair("tls-cert-file", "tls-private-key-file", "apiserver"),
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={CONFIGURATION}/sa.pub",
                f"--service-account-signing-key-file={CONFIGURATION}/sa.key",
                *_key_pair("kubelet-client-certificate", "kubelet-client-key", "kubelet-client"),
                "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={CONFIGURATION}/ca.crt",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                *_key_pair("proxy-client-cert-file", "proxy-client-key-file", "front-proxy"),
                "--profiling=false",
            ),
            lambda run: run("kubectl", "--kubeconfig", ADMIN, "get", "--raw", "/readyz"),
        ),
        Component(
            "kube-controller-manager",
            (
                "kube-controller-manager",
                *_caller("controller-manager"),
                "--use-service-account-credentials",
                f"--service-account-private-key-file={CONFIGURATION}/sa.key",
                f"--root-ca-file={CONFIGURATION}/ca.crt",
                f"--cluster-cidr={POD_NETWORK}",
                f"--service-cluster-ip-range={SERVICE_NETWORK}",
                *_key_pair("cluster-signing-cert-file", "cluster-signing-key-file", "ca"),
            ),
        ),
        Component("kube-scheduler", ("kube-scheduler", *_caller("scheduler"))),
        Component("kube-proxy", ("kube-proxy", f"--config={CONFIGURATION}/proxy.yaml")),
        Component(
            "kubelet",
            (
                "kubelet",
                f"--config={CONFIGURATION}/kubelet.yaml",
                f"--kubeconfig={CONFIGURATION}/node.conf",
                f"--hostname-override={NODE}",
                f"--node-ip={NODE_ADDRESS}",
            ),
            lambda run: run(
                "kubectl", "--kubeconfig", ADMIN, "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s"
            ),
        ),
    ]


def _key_pair(certificate: str, key: str, name: str) -> tuple[str, str]:
    return f"--{certificate}={CONFIGURATION}/{name}.crt", f"--{key}={CONFIGURATION}/{name}.key"


def _caller(name: str) -> tuple[str, ...]:
    who = f"{CONFIGURATION}/{name}.conf"
    return (
        f"--kubeconfig={who}",
        f"--authentication-kubeconfig={who}",
        f"--authorization-kubeconfig={who}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
    )


# No masquerade: packets for outside would find no route anyway.
_NETWORK = f"""\
{{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "hairpinMode": true,
      "ipMasq": false,
      "ipam": {{
        "type": "host-local",
        "ranges": [[{{"subnet": "{POD_NETWORK}"}}]],
        "routes": [{{"dst": "0.0.0.0/0"}}]
      }}
    }}
  ]
}}
"""

# Not runc: that starts a Go program twice for each container, and crun is C.
_CONTAINERD = f"""\
version = 2
oom_score = 0
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "dev.local/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "crun"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.crun.options]
        BinaryName = "crun"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$plugins"
    conf_dir = "{_PLUGIN_SETTINGS}"
"""

# Images cannot be pulled again, so none is ever collected.
_KUBELET = f"""\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {NODE_ADDRESS}
healthzBindAddress: 127.0.0.1
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {CONFIGURATION}/ca.crt}}
authorization: {{mode: Webhook}}
containerRuntimeEndpoint: unix://{CONTAINERD}
cgroupDriver: cgroupfs
cgroupRoot: $cgroup
failCgroupV1: false
enforceNodeAllocatable: []
failSwapOn: false
makeIPTablesUtilChains: false
clusterDNS: [{DNS_ADDRESS}]
clusterDomain: cluster.local
resolvConf: {CONFIGURATION}/resolv.conf
imageGCHighThresholdPercent: 100
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
oomScoreAdj: 0
maxPods: 200
volumePluginDir: /var/lib/kubelet/plugins
"""

_PROXY = f"""\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
bindAddress: {NODE_ADDRESS}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection: {{kubeconfig: {CONFIGURATION}/proxy.conf}}
hostnameOverride: {NODE}
clusterCIDR: {POD_NETWORK}
nodePortAddresses: ["{NODE_ADDRESS}/32"]
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
oomScoreAdj: 0
"""
