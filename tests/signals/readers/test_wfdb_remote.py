"""Records of PhysioNet, from a server of the test's own: nothing here leaves the machine."""

import functools
import http.server
import threading

import numpy as np
import pytest
from pydantic import ValidationError

from contracts.reader import ReaderContract, same
from tsfm_adapt.errors import DataError, EnvironmentProblem
from tsfm_adapt.signals.readers.wfdb import Config

wfdb = pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")

PN_DIR = "wards/1.0.0"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; `closed` needs an account, `broken` fails."""

    def do_GET(self):
        code = 403 if "closed" in self.path else 500 if "broken" in self.path else None
        if code is None:
            super().do_GET()
        else:
            self.send_error(code)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The folder behind the server, which the library takes for PhysioNet's."""
    folder = tmp_path_factory.mktemp("physionet")
    handler = functools.partial(Handler, directory=str(folder))
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        wfdb.io.download.set_db_index_url(f"http://127.0.0.1:{server.server_port}/")
        yield folder
        wfdb.io.download.set_db_index_url()
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def root(served):
    """Three records: one plain with annotations, one of two rates, one in a folder below."""
    root = served / PN_DIR
    (root / "deep").mkdir(parents=True)
    plain = {"fs": 125, "units": ["bpm", "pm"], "sig_name": ["HR", "RESP"], "fmt": ["16", "16"]}
    values = np.stack([np.arange(40.0) % 7, np.arange(40.0) % 5], axis=1)
    wfdb.wrsamp("p1a", p_signal=values, write_dir=str(root), **plain)
    wfdb.wrsamp("p3a", p_signal=values[:9], write_dir=str(root / "deep"), **plain)
    several = {"e_p_signal": [np.arange(10.0), np.arange(40.0)], "samps_per_frame": [1, 4]}
    wfdb.wrsamp("p2a", write_dir=str(root), **plain, **several)
    wfdb.wrann("p1a", "atr", np.array([3, 9]), ["N", "V"], fs=125, write_dir=str(root))
    (root / "RECORDS").write_text("p1a\np2a\ndeep/p3a\n")
    return root


def read(pn_dir=PN_DIR, wanted=(), **fields):
    return list(Config(pn_dir=pn_dir, **fields).read(wanted))


class TestRemoteContract(ReaderContract):
    @pytest.fixture
    def config(self, root):
        return Config(pn_dir=PN_DIR)

    def test_a_missing_root_is_named(self, config):
        with pytest.raises(DataError, match="absent"):
            list(config.model_copy(update={"pn_dir": "absent/1.0"}).read(()))


def test_remote_records_are_those_on_disk(root):
    remote, local = read(), list(Config(root=str(root)).read(()))
    assert [r.id for r in remote] == ["deep/p3a", "p1a", "p2a/125Hz", "p2a/500Hz"]
    assert all(same(one, other) for one, other in zip(remote, local, strict=True))


def test_named_records_need_no_list(root, served):
    below = served / "other" / "2.0"
    below.mkdir(parents=True)
    for suffix in (".hea", ".dat"):
        (below / f"p1a{suffix}").write_bytes((root / f"p1a{suffix}").read_bytes())
    (found,) = read("other/2.0", records=("p1a",), subject_pattern="^(p[0-9])")
    assert (found.id, found.subject) == ("p1a", "p1")
    with pytest.raises(DataError, match=r"a list RECORDS: http.*/other/2\.0/RECORDS is none"):
        read("other/2.0")


def test_remote_annotations_are_marks(root):
    (found,) = read(records=("p1a",), annotations="atr")
    assert [(span.label, span.start_s) for span in found.spans] == [("N", 0.024), ("V", 0.072)]
    with pytest.raises(DataError, match=r"PhysioNet has no file http.*/p1a\.qrs"):
        read(records=("p1a",), annotations="qrs")


def test_several_segments_are_joined(root):
    lines = ["joined/3 2 125 99", "p1a 40", "~ 19", "p1a 40", ""]
    (root / "joined.hea").write_text("\n".join(lines))
    (found,) = read(records=("joined",))
    (local,) = Config(root=str(root / "joined.hea")).read(())
    assert found.samples == 99
    assert same(found, local)
    (root / "joined.hea").unlink()


def test_headers_that_the_library_spoils_are_read_as_on_disk(root):
    text = (
        (root / "p1a.hea").read_text().replace("p1a", "x/odd", 1).replace("p1a.dat", "x/p1a.dat")
    )
    text = text.replace("/bpm", "/µV").replace(" HR", " Hürde") + "# Dx: 1,2\n"
    (root / "odd.hea").write_bytes(text.encode("latin-1"))
    (found,) = read(records=("odd",))
    (local,) = Config(root=str(root / "odd.hea")).read(())
    assert same(found, local)
    assert (found.channels, found.units) == (("Hürde", "RESP"), ("uV", "pm"))
    assert found.labels == {"Dx_1": 1, "Dx_2": 1}
    (root / "odd.hea").unlink()


def test_what_is_not_there_is_a_data_error(root):
    with pytest.raises(DataError, match=r"PhysioNet has no file http.*/p9\.hea\. Correct pn_dir"):
        read(records=("p9",))
    (root / "lonely.hea").write_text((root / "p1a.hea").read_text().replace("p1a", "lonely"))
    with pytest.raises(DataError, match=r"has no file http.*/lonely\.dat"):
        read(records=("lonely",))
    (root / "lonely.hea").unlink()


def test_a_list_of_folders_is_answered_with_what_to_name(served):
    (served / "waves" / "0.1.0").mkdir(parents=True)
    (served / "waves" / "0.1.0" / "RECORDS").write_text("p100/\np101/\n")
    with pytest.raises(DataError, match=r"lists 2 records and of them 2 folders like p100/"):
        read("waves/0.1.0")
    (served / "waves" / "0.1.0" / "RECORDS").write_text("")
    with pytest.raises(DataError, match=r"lists 0 records"):
        read("waves/0.1.0")


def test_an_altered_remote_signal_fails_its_checksum(root):
    signal = root / "p1a.dat"
    whole = signal.read_bytes()
    for content in (whole[:-1] + b"\x11", whole[:40], b""):
        signal.write_bytes(content)
        with pytest.raises(DataError, match="p1a"):
            read(records=("p1a",))
    signal.write_bytes(whole)


@pytest.mark.parametrize(
    ("pn_dir", "message"),
    [
        ("closed/1.0", r"http.*/closed/1\.0/a\.hea is for credentialed users\. Fetch"),
        ("broken/1.0", r"could not be fetched: NetFileError: 500"),
    ],
)
def test_what_the_server_refuses_is_a_problem_of_the_environment(served, pn_dir, message):
    with pytest.raises(EnvironmentProblem, match=message):
        read(pn_dir, records=("a",))
    with pytest.raises(EnvironmentProblem, match=message.replace(r"a\.hea", "RECORDS")):
        read(pn_dir)


def test_without_a_network_the_next_step_is_said(served):
    before = wfdb.io.download.config.db_index_url
    wfdb.io.download.set_db_index_url("http://127.0.0.1:9/")  # nothing listens there
    try:
        with pytest.raises(
            EnvironmentProblem, match=r"could not be fetched: .* data\.reader\.root"
        ):
            read()
    finally:
        wfdb.io.download.set_db_index_url(before)


@pytest.mark.parametrize(
    "pn_dir", ["mitdb", "mitdb/1", "../1.0", "/mitdb/1.0", "https://a/b", "s3://a/1"]
)
def test_a_folder_without_project_and_version_is_refused(pn_dir):
    with pytest.raises(ValidationError, match="pn_dir"):
        Config(pn_dir=pn_dir)


def test_records_lie_in_one_place():
    with pytest.raises(ValidationError, match="neither is stated"):
        Config()
    with pytest.raises(ValidationError, match="both is stated"):
        Config(root=".", pn_dir=PN_DIR)
    assert Config(pn_dir=PN_DIR).files() is None
