"""The keys of one cluster: made at every start, gone with its state."""

import subprocess
from pathlib import Path

from infra.cluster.layout import API_SERVER, KUBERNETES_SERVICE_ADDRESS, NODE, NODE_ADDRESS

_DAYS = "30"
_NAMES = ",".join(
    [f"DNS:kubernetes{suffix}" for suffix in ("", ".default", ".default.svc", ".default.svc.cluster.local")]
    + [f"IP:{address}" for address in ("127.0.0.1", NODE_ADDRESS, KUBERNETES_SERVICE_ADDRESS)]
)
_CLIENT = "extendedKeyUsage=clientAuth"
_CERTIFICATES = {
    "apiserver": ("/CN=kube-apiserver", f"subjectAltName={_NAMES}"),
    "kubelet-client": ("/O=system:masters/CN=apiserver-kubelet-client", _CLIENT),
    "front-proxy": ("/CN=front-proxy-client", _CLIENT),
    "admin": ("/O=system:masters/CN=admin", _CLIENT),
    "controller-manager": ("/CN=system:kube-controller-manager", _CLIENT),
    "scheduler": ("/CN=system:kube-scheduler", _CLIENT),
    "proxy": ("/CN=system:kube-proxy", _CLIENT),
    "node": (f"/O=system:nodes/CN=system:node:{NODE}", _CLIENT),
}
_CALLERS = ("admin", "controller-manager", "scheduler", "proxy", "node")


def make(folder: Path) -> None:
    """``ca.crt``, a ``.crt`` and ``.key`` for each name, ``sa.key`` and ``sa.pub``, and ``NAME.conf`` for kubectl."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=chat4all -days", _DAYS)
    for name, (subject, extension) in _CERTIFICATES.items():
        (folder / f"{name}.ext").write_text(extension)
        _openssl(folder, f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj", subject)
        sign = f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {name}.crt -extfile {name}.ext"
        _openssl(folder, f"{sign} -days", _DAYS)
    _openssl(folder, "genrsa -out", "sa.key")
    _openssl(folder, "rsa -in sa.key -pubout -out", "sa.pub")
    for name in _CALLERS:
        (folder / f"{name}.conf").write_text(_kubeconfig(folder, name))


def _openssl(folder: Path, options: str, last: str) -> None:
    subprocess.run(("openssl", *options.split(), last), cwd=folder, check=True, capture_output=True)


def _kubeconfig(folder: Path, name: str) -> str:
    return f"""\
apiVersion: v1
kind: Config
clusters:
  - {{name: one-node, cluster: {{server: "{API_SERVER}", certificate-authority: {folder}/ca.crt}}}}
users:
  - {{name: {name}, user: {{client-certificate: {folder}/{name}.crt, client-key: {folder}/{name}.key}}}}
contexts:
  - {{name: one-node, context: {{cluster: one-node, user: {name}}}}}
current-context: one-node
"""
