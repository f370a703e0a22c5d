"""A latency table of a device that resembles one that there is a table of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from black_box import share_us
from commands import TINY, amc_hw
from cousins import SLOWER, Closed, ClosedCousin, ClosedStranger, Cousin, Relative, Stranger
from tiny import TinyNet

from amc_hw.devices.registry import open_device
from amc_hw.devices.table_only import TableOnly
from amc_hw.errors import DeviceError, TableError, UsageError
from amc_hw.formats.graph import GraphTemplate
from amc_hw.latency.merge import merge
from amc_hw.latency.operators import Operator
from amc_hw.latency.prediction import Predictor
from amc_hw.latency.read_table import load_table
from amc_hw.latency.table import LatencyTable
from amc_hw.latency.trust import of_totals, of_transfer, warnings
from amc_hw.profiling.kept_tables import find_alike
from amc_hw.profiling.measure import measure_table
from amc_hw.profiling.plan import draw_policy
from amc_hw.profiling.profile import default_table, run_cost
from amc_hw.profiling.transfer import FITTED, HELD_OUT, Known, transfer_table
from amc_hw.runs.folder import RunFolder
from amc_hw.runs.progress import SILENT
from amc_hw.tracing.traced import TracedModel, trace_model

PAIRS = {
    "operators to operators": (Relative, Cousin),
    "operators to totals": (Relative, Closed),
    "totals to totals": (Closed, ClosedCousin),
    "totals to operators": (Closed, Cousin),
}


class Lab:
    """The tiny network, and what is made of it."""

    def __init__(self, traced: TracedModel, template: GraphTemplate, folder: Path) -> None:
        self.traced, self.template, self.folder = traced, template, folder
        self.new = folder / "new.json"

    def measured(self, device: Relative, *, path: Path | None = None, renew: bool = False) -> LatencyTable:
        path = path or self.folder / f"{device.name}.json"
        return measure_table(device, self.traced, self.template, path, 0, SILENT, renew=renew)

    def transferred(self, device: Relative, known: LatencyTable) -> LatencyTable:
        there = Known(known, self.folder / "known.json")
        return transfer_table(device, self.traced, self.template, there, self.new, 0, SILENT)

    def errors(self, table: LatencyTable, device: Relative) -> list[float]:
        """How far predictions of networks are off that were drawn for this alone."""
        random, file, errors = np.random.default_rng(7), self.folder / "network.tflite", []
        for _ in range(20):
            policy = draw_policy(self.traced.choices, random)
            file.write_bytes(self.template.file(policy, random))
            measured = np.mean(device.time_model(file, warmup=0, runs=1)) / 1e3
            errors.append(abs(Predictor(table).network_ms(self.template.operators(policy)) / measured - 1))
        return errors


@pytest.fixture
def lab(traced: TracedModel, template: GraphTemplate, tmp_path: Path) -> Lab:
    return Lab(traced, template, tmp_path)


@pytest.mark.parametrize("pair", PAIRS)
def test_every_pair_of_devices_that_are_alike(lab: Lab, pair: str) -> None:
    """What a transfer must do between devices of all sorts."""
    first, second = PAIRS[pair]
    known = lab.measured(first())
    device = second("second", noise=0.005)
    table = lab.transferred(device, known)

    assert len(device.networks) <= 12
    assert table == load_table(lab.new)
    assert (table.fingerprint, table.format) == (device.fingerprint(), 4)
    assert table.transfer is not None
    assert (table.transfer.fingerprint, table.transfer.created) == (known.fingerprint, known.created)

    (error,) = table.errors.values()
    assert (table.transfer.networks, error.networks) == (FITTED, HELD_OUT)
    assert error.mean < 0.04
    assert np.mean(lab.errors(table, second("second"))) < 2 * error.mean + 0.01
    (sentence,) = of_transfer(table)
    assert "do not rely" not in sentence
    assert f"by {FITTED} networks from that of first" in sentence
    assert of_totals(table) == []
    assert sentence in warnings(Predictor(table), lab.template.operators(lab.traced.network.original))

    # What the other device's clock said is never taken for this one's.
    assert any(entry.transferred for entry in table.entries)
    own = {key for network in device.networks for key in network}
    assert all(entry.key in own for entry in table.entries if not entry.transferred)
    assert not {(n.measured_ms) for n in table.calibration} & {n.measured_ms for n in known.calibration}

    # A search takes it as it is; profiling without it measures the device itself.
    idle = second("second")
    assert lab.measured(idle, path=lab.new) == table
    assert not idle.networks
    whole = lab.measured(second("second"), path=lab.new, renew=True)
    assert whole == load_table(lab.new)
    assert whole.transfer is None
    assert not any(entry.transferred for entry in whole.entries)
    assert whole.format == (2 if second.operator_times else 3)
    assert of_transfer(whole) == []
    assert np.mean(lab.errors(whole, second("second"))) < 0.04
    if table.totals is not None and whole.totals is not None:
        assert whole.totals.networks[: len(table.totals.networks)] == table.totals.networks


@pytest.mark.parametrize(("first", "second"), [(Relative, Stranger), (Closed, ClosedStranger)])
def test_a_device_that_resembles_nothing_is_found_out(lab: Lab, first: type[Relative], second: type[Relative]) -> None:
    table = lab.transferred(second("second"), lab.measured(first()))
    (error,) = table.errors.values()
    assert error.mean > 0.05
    assert np.mean(lab.errors(table, second("second"))) > 0.05
    (sentence,) = of_transfer(table)
    assert "do not rely on it" in sentence
    assert "amc-hw profile without --like" in sentence


def test_it_is_nearer_than_the_other_devices_table_and_than_one_factor(lab: Lab) -> None:
    known, device = lab.measured(Relative()), Cousin("second")
    table = lab.transferred(Cousin("second"), known)
    theirs = lab.errors(known, device)
    original = lab.template.operators(lab.traced.network.original)
    factor = Predictor(table).network_ms(original) / Predictor(known).network_ms(original)
    scaled = known.model_copy(deep=True)
    scaled.calibration = [
        network.model_copy(update={"measured_ms": factor * network.measured_ms}) for network in known.calibration
    ]
    assert np.mean(lab.errors(table, device)) < 0.5 * np.mean(lab.errors(scaled, device)) < 0.5 * np.mean(theirs)


def test_what_a_known_table_lacks_is_told_with_the_cure(lab: Lab) -> None:
    known, device = lab.measured(Relative()), Cousin("second")
    lacking = known.model_copy(deep=True)
    lacking.entries = [entry for entry in known.entries if "16x16xC" not in entry.family]
    with pytest.raises(TableError, match=r"known\.json has not measured \d of the network's 4 shapes .*profile"):
        lab.transferred(device, lacking)
    assert not device.networks
    assert not lab.new.exists()


def test_nothing_is_kept_of_a_device_that_was_lost(lab: Lab) -> None:
    class Unplugged(Cousin):
        def time_model(self, file: Path, *, warmup: int, runs: int) -> list[float]:
            if len(self.networks) == 5:
                raise DeviceError("the cable is out.")
            return super().time_model(file, warmup=warmup, runs=runs)

    known = lab.measured(Relative())
    with pytest.raises(DeviceError, match="cable"):
        lab.transferred(Unplugged("second"), known)
    assert not lab.new.exists()


def test_a_transferred_table_meets_no_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    known, device = lab.measured(Relative()), Cousin("second")
    measured = lab.measured(Cousin("second"))
    with pytest.raises(UsageError, match="measurements of this device already; leave out like="):
        transfer_table(device, lab.traced, lab.template, Known(known, lab.new), lab.folder / "second.json", 0, SILENT)
    table = lab.transferred(device, known)
    with pytest.raises(TableError, match=r"new was transferred .*without like="):
        merge({"new": table, "measured": measured})
    with pytest.raises(TableError, match=r"new was transferred .*without like="):
        merge({"measured": measured, "new": table})
    assert table.transfer is not None
    another = table.model_copy(update={"transfer": table.transfer.model_copy(update={"structure": "another"})})
    another.errors = {"another": next(iter(table.errors.values()))}
    another.save(lab.new)
    with pytest.raises(TableError, match=r"transferred .* alone; name another table="):
        lab.measured(Cousin("second"), path=lab.new)
    with pytest.raises(UsageError, match=r"was transferred for .*; name another table="):
        lab.transferred(Cousin("second"), known)
    monkeypatch.setattr("amc_hw.profiling.profile.template_for", lambda *trained: lab.template)
    run = RunFolder(lab.folder / "run")
    with pytest.raises(TableError, match=r"table of 'new' was transferred .* alone"):
        run_cost(run, TableOnly("new", lab.new), lab.traced, None, 0, SILENT)
    assert not run.table.exists()


def test_the_same_transfer_again_begins_anew(lab: Lab) -> None:
    known = lab.measured(Relative())
    first = lab.transferred(Cousin("second"), known)
    again = lab.transferred(Cousin("second"), known)
    assert again.entries == first.entries
    assert again.errors == first.errors


def test_a_table_to_begin_with_is_found_by_its_devices_name(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(lab.folder / "cache"))
    device = Cousin("second")
    fingerprint = device.fingerprint()
    with pytest.raises(UsageError, match=r"no table of 'first' .*amc-hw profile --device first"):
        find_alike("first", fingerprint)
    path = default_table("first", Relative().fingerprint())
    path.parent.mkdir(parents=True, exist_ok=True)
    known = lab.measured(Relative(), path=path)
    assert find_alike("first", fingerprint) == find_alike(str(path), fingerprint) == (known, path)
    with pytest.raises(TableError, match=r"dtype: float32, int8"):
        find_alike("first", fingerprint.model_copy(update={"dtype": "int8"}))
    with pytest.raises(TableError, match=r"simulated: True, False"):
        find_alike("first", fingerprint.model_copy(update={"simulated": False}))
    with pytest.raises(UsageError, match="is the device itself"):
        find_alike("first", Relative().fingerprint())
    lab.transferred(device, known)
    with pytest.raises(TableError, match="was transferred itself"):
        find_alike(str(lab.new), Relative("third").fingerprint())


def test_profile_begins_with_the_table_of_a_device_that_it_is_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    task = ("profile", "--model", TINY, "--image-size", 32, "--classes", 10, "--in-channels", 1)
    begun = (*task, "--device", "host:threads=2", "--like", "host", "--json")
    assert amc_hw(*begun) == 2
    assert "no table of 'host'" in capsys.readouterr().err
    assert amc_hw(*task, "--device", "host") == 0
    capsys.readouterr()
    assert amc_hw(*begun) == 0
    told = json.loads(capsys.readouterr().out)
    assert "transferred by 8 networks" in told["notes"][0]
    table = load_table(Path(told["table"]))
    assert table.fingerprint.threads == 2
    grey = trace_model(TinyNet(), (1, 32, 32))  # a run's network, which the table answers for
    run_cost(RunFolder(tmp_path / "run"), open_device("host:threads=2"), grey, None, 0, SILENT)
    assert amc_hw("table", "show", told["table"]) == 0
    assert "transferred from" in capsys.readouterr().out
    assert amc_hw(*task, "--device", "host", "--like", "host") == 2
    assert "--like host is the device itself; leave it out" in capsys.readouterr().err


def bent(operator: Operator) -> float:
    """What no formula has: many channels overflow a cache, and odd tiles take longer."""
    return (1 + 0.3 * (operator.c_out > 20)) * (1 + 0.2 * (operator.c_out % 16 > 0))


class Bent(Closed):
    def formula(self, operator: Operator) -> float:
        return share_us(operator, 1) * bent(operator)


class BentCousin(Bent):
    def formula(self, operator: Operator) -> float:
        return SLOWER.get(operator.kind, 1.0) * super().formula(operator)


class BentOtherwise(Closed):
    def formula(self, operator: Operator) -> float:
        return share_us(operator, 1) / bent(operator)


def test_what_operators_deviate_from_their_shares_is_carried_over_where_networks_bear_it_out(lab: Lab) -> None:
    known = lab.measured(Bent())
    assert known.totals is not None
    assert known.totals.deviations is not None
    table = lab.transferred(BentCousin("second"), known)
    assert table == load_table(lab.new)
    assert table.totals is not None
    assert {each.family for each in table.totals.carried} == {
        each.family for each in table.totals.shares if any(each.us_per)
    }
    plain = table.model_copy(update={"totals": table.totals.model_copy(update={"carried": []})})
    device = BentCousin("second")
    assert np.mean(lab.errors(table, device)) < 0.7 * np.mean(lab.errors(plain, device))

    other_way = lab.transferred(BentOtherwise("second"), known)
    assert other_way.totals is not None
    assert other_way.totals.carried == []
    assert '"carried"' not in lab.new.read_text()


def test_a_family_that_takes_no_time_by_the_other_table_takes_none_here(lab: Lab) -> None:
    """On a busy machine totals may tell nothing of a convolution; the network has it all the same."""
    known = lab.measured(Closed())
    assert known.totals is not None
    nothing = next(share.family for share in known.totals.shares if share.family.startswith("DEPTHWISE"))
    shares = [
        share.model_copy(update={"us_per": [0.0] * 4}) if share.family == nothing else share
        for share in known.totals.shares
    ]
    known.totals = known.totals.model_copy(update={"shares": shares, "deviations": None})
    table = lab.transferred(ClosedCousin("second"), known)
    operators = lab.template.operators(lab.traced.network.original)
    times = dict(zip([each.family for each in operators], Predictor(table).operators_ms(operators), strict=True))
    assert times[nothing] == 0
    assert table == load_table(lab.new)


def test_deviations_that_belong_to_nothing_are_refused(lab: Lab) -> None:
    lab.transferred(BentCousin("second"), lab.measured(Bent()))
    document = json.loads(lab.new.read_text())
    document["totals"]["carried"][0]["weights"].pop()
    lab.new.write_text(json.dumps(document))
    with pytest.raises(TableError, match="weights are of other channels"):
        load_table(lab.new)
    document["totals"]["carried"][0]["weights"].append(0.0)
    document["totals"]["shares"] = [
        each for each in document["totals"]["shares"] if each["family"] != document["totals"]["carried"][0]["family"]
    ]
    lab.new.write_text(json.dumps(document))
    with pytest.raises(TableError, match="other families than have a share"):
        load_table(lab.new)


def test_a_busy_machine_is_told_from_devices_that_are_unlike(lab: Lab) -> None:
    table = lab.transferred(Stranger("second"), lab.measured(Relative()))
    assert "busy" not in of_transfer(table)[0]
    table.calibration = [network.model_copy(update={"unstable": True}) for network in table.calibration]
    assert "do not rely on it, the machine was busy; do the same again when it is quiet" in of_transfer(table)[0]
