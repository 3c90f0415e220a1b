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

    folder, transferred = transfer_run(options, METHODS)
    report, likeness = transferred.report, ""
    if transferred.closed_form_psnr is not None:
        likeness = f"renders against those of the trained run: {transferred.closed_form_psnr:.2f} dB in closed form"
    seconds = f"closed form {report.fit_seconds:.1f} s"
    if transferred.search is not None:
        print(f"{transferred.search.markdown()}\n")
        seconds = f"search {transferred.search_seconds:.1f} s, {seconds}"
    if report.finetune_seconds:
        seconds += f", fine-tuning {report.finetune_seconds:.1f} s"
        likeness += f", {transferred.psnr:.2f} dB after fine-tuning"
    print(f"{report.markdown()}\n{report.samples:,} samples; {seconds}; relative errors are those of the closed form")
    if likeness:
        print(likeness)
    print(
        f"size     {transferred.multiplications:,} multiplications per sample, {transferred.bytes:,} bytes in float16"
    )
    print(f"run      {folder}\nscore    ns-eval --load-config {folder / 'config.yml'} --output-path scores.json")
