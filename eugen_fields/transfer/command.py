"""The eugen-transfer command: a trained dense run becomes one with EUGen, PRP or low-rank layers, without images."""

from __future__ import annotations

import warnings

import tyro

from eugen_fields.errors import exit_on_input_error
from eugen_fields.transfer.options import TransferOptions


@exit_on_input_error()
def main() -> None:
    """Entry point of eugen-transfer."""
    options = tyro.cli(TransferOptions, prog="eugen-transfer")
    warnings.filterwarnings("ignore", category=UserWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    from eugen_fields.methods import METHODS
    from eugen_fields.transfer.new_run import transfer_run

    folder, report = transfer_run(options, METHODS)
    seconds = f"closed form {report.fit_seconds:.1f} s"
    if report.finetune_seconds:
        seconds += f", fine-tuning {report.finetune_seconds:.1f} s"
    print(f"{report.markdown()}\n{report.samples:,} samples; {seconds}; relative errors are those of the closed form")
    print(f"run      {folder}\nscore    ns-eval --load-config {folder / 'config.yml'} --output-path scores.json")
