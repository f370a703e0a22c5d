"""Builds lookup_tables/pixel1.json from the Google Pixel 1 logs of mit-han-lab/amc-compressed-models.

    python benchmarks/pixel1_table.py --logs FOLDER [--out lookup_tables/pixel1.json]

The folder holds the logs and channels.json (the variants' channels). Prints, for each variant, the latency
that the other variants' logs predict beside the one that its own logs say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from amc_hw.latency.fingerprint import Fingerprint
from amc_hw.profiling.import_logs import import_logs
from amc_hw.profiling.logged_files import logged_networks

SOURCE = "https://github.com/mit-han-lab/amc-compressed-models (Apache-2.0), MobileNetV1 at 224, 3 repeats of 200 runs"
PIXEL_1 = Fingerprint(
    device="Google Pixel 1",
    processor="Qualcomm Snapdragon 821",
    system="Android (version not logged)",
    runtime="tflite",
    runtime_version="2018 (build not logged)",
    threads=1,
    cores="not logged",
    delegate="none",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, required=True, help="folder with the logs and channels.json")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "lookup_tables" / "pixel1.json")
    arguments = parser.parse_args()

    logs = sorted(arguments.logs.glob("*.txt"))
    networks = logged_networks(logs, [], "mobilenet_v1", arguments.logs / "channels.json")
    table = import_logs(networks, PIXEL_1, SOURCE)
    table.save(arguments.out)

    left_out = {name: error for found in table.errors.values() for name, error in found.left_out.items()}
    print(f"{arguments.out}: {len(table.entries)} entries from {len(logs)} logs")
    print(f"{'left out':16} {'measured ms':>12} {'predicted ms':>13} {'error':>8} {'spread':>8}")
    for network in networks:
        means = [log.regular.avg_us / 1e3 for log in network.logs]
        spread = (max(means) - min(means)) / network.measured_ms
        predicted = network.measured_ms * (1 + left_out[network.name])
        print(
            f"{network.name:16} {network.measured_ms:12.2f} {predicted:13.2f} "
            f"{left_out[network.name]:+8.2%} {spread:8.2%}"
        )


if __name__ == "__main__":
    main()
