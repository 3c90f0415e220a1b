"""The trainer of all our methods: checks before it starts, and runs that stop and resume without loss."""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from nerfstudio.engine.optimizers import Optimizers
from nerfstudio.engine.trainer import Trainer
from nerfstudio.utils.decorators import check_main_thread
from nerfstudio.utils.rich_utils import CONSOLE
from tyro.conf import Suppress

from eugen_fields.data.regime import is_bounded
from eugen_fields.errors import InputError, report_uncaught_input_errors
from eugen_fields.fields.base import Field
from eugen_fields.layers.kinds import LAYER_KINDS, MUON_FAMILIES, layer_kind
from eugen_fields.models.protocols import ModelFlags
from eugen_fields.runs.checkpoints import checkpoint_path, read_checkpoint, read_newest_checkpoint, write_checkpoint
from eugen_fields.runs.config_file import read_config
from eugen_fields.runs.scene import record_scene
from eugen_fields.training.checks import check_device, check_port, memory_errors
from eugen_fields.training.dense_start import last_dense_steps, renew_optimizers
from eugen_fields.training.event_files import disk_errors, flush_events, forget_event_writers
from eugen_fields.training.numbers import check_numbers
from eugen_fields.training.optimizers import FieldOptimizerConfig, StepScaler, algorithm_of
from eugen_fields.training.own_folder import OwnFolderConfig
from eugen_fields.training.pipeline import SharedWeightsPipeline
from eugen_fields.training.recovery import Recovery
from eugen_fields.training.schedule import LayerAdamConfig, PlaneAdam, PlaneAdamConfig, WarmupDecayConfig


class _DataFlags(Protocol):
    """What training needs to know of the settings of a data manager."""

    data: Path | None
    dataparser: Any

    def check_data(self, data: Path | None) -> None: ...


@dataclass
class FieldTrainerConfig(OwnFolderConfig):
    """Training of one field on one scene."""

    _target: type = field(default_factory=lambda: FieldTrainer)
    rate_family: Suppress[str] = "nerf"
    """Family of methods whose tuned learning rates (layers.kinds.DEFAULT_RATES) are used where an optimiser's is 0."""
    unbounded_rate_family: Suppress[str] = ""
    """Family in unbounded scenes; empty: as in bounded ones."""
    rate_factor: float = 1.0
    """Factor on the tuned learning rates. It does not change rates that are given."""
    keep_checkpoints: int = 2
    """Number of the newest checkpoints that are kept: where one is damaged, the one before it is read. 0: all."""
    dense_start_rate_factor: float = 1.0
    """Factor on the learning rates after a dense start (--pipeline.model.dense-start)."""

    def save_config(self) -> None:
        """Checks everything a person can get wrong, fills in what depends on other flags, then saves config.yml.

        nerfstudio calls this in the parent process before it starts training.

        Raises:
            InputError: with one clear message.
        """
        report_uncaught_input_errors()
        if self.machine.machine_rank > 0:  # the first machine writes, and shows, all that is written and shown
            self.vis = "tensorboard"
            self.prepare()
            return
        continues = self.take_place()
        self.prepare()
        self.write_config(continues)
        manager = cast(_DataFlags, self.pipeline.datamanager)
        data = self.data if self.data is not None else manager.data
        try:
            record_scene(self.get_base_dir(), manager.dataparser, Path(data or manager.dataparser.data))
        except InputError:
            if not continues:  # no training has begun, so that the place is free again
                (self.get_base_dir() / "config.yml").unlink()
            raise

    def prepare(self) -> None:
        """Checks and fills in what save_config does, without writing config.yml.

        Raises:
            InputError: naming the flag or file, what was found and what would do.
        """
        check_device(self.machine)
        if self.machine.device_type != "cuda":
            self.mixed_precision = False  # float16 needs its gradients scaled, which torch does on CUDA alone
        self._choose_regime()
        self._choose_dense_start()
        self._check_numbers()
        self.fill_in_optimizers()
        if self.load_dir is not None and not self.load_dir.is_dir():
            raise InputError(f"--load-dir {self.load_dir} is not a folder; give a run's nerfstudio_models folder.")
        manager = cast(_DataFlags, self.pipeline.datamanager)
        manager.check_data(self.data if self.data is not None else manager.data)
        if self.machine.machine_rank == 0:
            self.check_output()
        if self.is_viewer_enabled() and self.viewer.websocket_port is not None:
            check_port(self.viewer.websocket_host, self.viewer.websocket_port)

    def _choose_regime(self) -> None:
        """Fills in whether the scene is bounded where that is left to the data parser."""
        model: Any = self.pipeline.model
        if getattr(model, "regime", None) == "auto":
            bounded = is_bounded(cast(_DataFlags, self.pipeline.datamanager).dataparser)
            model.regime = "bounded" if bounded else "unbounded"

    def _choose_dense_start(self) -> None:
        """Fills in whether the training begins dense, where that is left to the layer kind and the number of steps: as
        the run began that is resumed, however many steps there are now."""
        model = cast(ModelFlags, self.pipeline.model)
        if model.dense_start is not None:
            return
        model.dense_start = 0.0
        if self._resumed_folder is not None and (self._resumed_folder / "config.yml").is_file():
            model.dense_start = read_config(self._resumed_folder / "config.yml")["pipeline"]["model"].get("dense_start")
        elif model.layer in LAYER_KINDS and model.backend != "tcnn":  # the checks behind this name what is not
            model.dense_start = layer_kind(model.layer).dense_start(self.family, self.max_num_iterations)
        model.dense_start = model.dense_start or 0.0

    @property
    def _resumed_folder(self) -> Path | None:
        """The folder of the run that is resumed."""
        if self.load_checkpoint is not None:
            return Path(self.load_checkpoint).parent.parent
        return None if self.load_dir is None else self.load_dir.parent

    @property
    def family(self) -> str:
        """Family of methods whose tuned learning rates are used on this scene."""
        unbounded = getattr(self.pipeline.model, "regime", None) == "unbounded"
        return self.unbounded_rate_family if unbounded and self.unbounded_rate_family else self.rate_family

    def _check_numbers(self) -> None:
        if self.max_num_iterations < 1:
            raise InputError(f"--max-num-iterations is {self.max_num_iterations}; it must be at least 1.")
        check_numbers(self)
        try:
            cast(ModelFlags, self.pipeline.model).check_flags()
        except ValueError as error:
            raise InputError(f"--pipeline.model.* flags: {error}.") from None
        if not self.rate_factor > 0:
            raise InputError(f"--rate-factor is {self.rate_factor}; it must be positive.")
        if not self.dense_start_rate_factor > 0:
            raise InputError(f"--dense-start-rate-factor is {self.dense_start_rate_factor}; it must be positive.")
        model = cast(ModelFlags, self.pipeline.model)
        if model.dense_start and not model.starts_dense:
            CONSOLE.print("--pipeline.model.dense-start changes nothing where all layers are dense.")
        for name in model.idle_options():
            flag = f"--pipeline.model.{name.replace('_', '-')}"
            CONSOLE.print(f"{flag} changes nothing: {model.layer} layers have no such option.")

    def fill_in_optimizers(self) -> None:
        """Fills in what the optimisers leave to the layer kind, the device and the length of the training.

        Raises:
            InputError: a learning rate or a schedule that is out of range.
        """
        model = cast(ModelFlags, self.pipeline.model)
        family, kind = self.family, layer_kind(model.layer)
        for group in self.optimizers.values():
            optimizer, scheduler = group["optimizer"], group.get("scheduler")
            if isinstance(optimizer, FieldOptimizerConfig) and optimizer.algorithm == "auto":
                optimizer.algorithm = "muon" if family in MUON_FAMILIES else "adam"
            if isinstance(optimizer, FieldOptimizerConfig) and optimizer.algorithm == "muon":
                if optimizer.lr == 0:
                    optimizer.lr = self.rate_factor * kind.muon_rate(family, self.max_num_iterations)
                if optimizer.adam_lr == 0:
                    optimizer.adam_lr = self.rate_factor * kind.rate(family)
                if optimizer.adam_lr < 0:
                    raise InputError(f"the learning rate of Adam is {optimizer.adam_lr}; it must be positive.")
            elif isinstance(optimizer, LayerAdamConfig) and optimizer.lr == 0:
                tuned = optimizer.tuned_rate if isinstance(optimizer, PlaneAdamConfig) else kind.rate(family)
                optimizer.lr = self.rate_factor * tuned
            if isinstance(optimizer, PlaneAdamConfig):
                optimizer._target = PlaneAdam  # a config.yml from before names torch's own
            if isinstance(optimizer, LayerAdamConfig) and optimizer.fused is None:
                optimizer.fused = self.machine.device_type in ("cuda", "cpu")
            if optimizer.lr <= 0:
                raise InputError(f"the learning rate is {optimizer.lr}; it must be positive.")
            if isinstance(scheduler, WarmupDecayConfig):
                if not 0 <= scheduler.hold < 1:
                    raise InputError(f"the scheduler's hold is {scheduler.hold}; it must be at least 0 and below 1.")
                if scheduler.max_steps == 0:
                    scheduler.max_steps = self.max_num_iterations

    def check_output(self) -> None:
        """Makes the folder of the run. Raises InputError where it cannot be written to."""
        folder = self.get_base_dir()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".write-test"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"cannot write to {folder}: {error.strerror or error}. Choose another place with --output-dir."
            ) from None


class FieldTrainer(Trainer):
    """nerfstudio's trainer whose checkpoints survive a kill and whose resume ends where the training would have.

    Attributes:
        step_metrics: metrics of the newest training step, by name; empty before the first.
        recovery: watches the training for a collapse; None before the first step.
    """

    config: FieldTrainerConfig
    pipeline: SharedWeightsPipeline
    recovery: Recovery | None = None
    _interrupted = False
    _dense_steps = 0
    _saved_step: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.grad_scaler = StepScaler(enabled=self.use_grad_scaler)

    @memory_errors()
    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        self.step_metrics: dict[str, torch.Tensor] = {}
        if self.local_rank == 0:
            forget_event_writers()
        with disk_errors(self.base_dir):
            super().setup(test_mode)
        if self._start_step == 0:
            self.pipeline.prepare_start()
        self._prepare_networks()

    def _prepare_networks(self) -> None:
        for module in self.pipeline.model.modules():
            if isinstance(module, Field):
                module.prepare_training()

    def setup_optimizers(self) -> Optimizers:
        self.config.fill_in_optimizers()
        return super().setup_optimizers()

    @memory_errors()
    def train(self) -> None:
        """Trains up to max_num_iterations steps in all, those before a resume included."""
        total = self.config.max_num_iterations
        remaining = total - self._start_step
        if remaining <= 0:
            raise InputError(
                f"the checkpoint already has {self._start_step} steps; --max-num-iterations {total} asks for no more. "
                "Give a larger number to go on."
            )
        self.recovery = Recovery(self.pipeline.model, self.optimizers, self._start_step)
        self._dense_steps = last_dense_steps(cast(ModelFlags, self.pipeline.model.config).dense_start or 0.0, total)
        self.config.max_num_iterations = remaining  # nerfstudio counts this from the resumed step
        in_main_thread = threading.current_thread() is threading.main_thread()
        handler = signal.signal(signal.SIGINT, self._on_interrupt) if in_main_thread else None
        try:
            with disk_errors(self.base_dir):
                super().train()
        except KeyboardInterrupt:
            if self.training_state == "completed":  # the finished run was being watched in the viewer
                return
            self.save_checkpoint(self.step)
            CONSOLE.print(
                f"Stopped after step {self.step}. Resume with the same command and --load-dir {self.checkpoint_dir}"
            )
            raise SystemExit(130) from None
        finally:
            self.config.max_num_iterations = total
            if in_main_thread:
                signal.signal(signal.SIGINT, handler)

    def _on_interrupt(self, *_: object) -> None:
        """Ctrl-C stops training after the step in progress: an exception in the middle of one can be swallowed by the
        code that it hits, or leave half a step in the checkpoint. A second one, or one outside the steps, stops at
        once."""
        if self._interrupted or self.training_state != "training":
            raise KeyboardInterrupt
        self._interrupted = True

    def train_iteration(self, step: int):  # type: ignore[override]
        """One step; raises KeyboardInterrupt behind it where Ctrl-C was pressed."""
        if self.pipeline.in_dense_start and step >= self._dense_steps:
            self._end_dense_start(step)
        result = super().train_iteration(step)
        self.step_metrics = result[2]
        if "explained" in self.step_metrics and self.recovery is not None:
            self.recovery.after_step(step, self.step_metrics["explained"])
        if self._interrupted:
            raise KeyboardInterrupt
        return result

    def _end_dense_start(self, step: int) -> None:
        """Goes on with layers of the kind that the options ask for."""
        said = self.pipeline.end_dense_start(step)
        groups, factor = self.pipeline.get_param_groups(), self.config.dense_start_rate_factor
        renew_optimizers(self.optimizers, groups, factor)
        self._prepare_networks()
        if self.recovery is not None:
            self.recovery.keep(step - 1)
        if self.local_rank == 0:
            CONSOLE.print(said)

    @check_main_thread
    def save_checkpoint(self, step: int) -> None:
        """Writes the checkpoint after `step`, atomically, and drops the oldest ones."""
        if step == self._saved_step:
            return
        state = {
            "step": step,
            "pipeline": self.pipeline.state_dict(),
            "optimizers": {name: value.state_dict() for name, value in self.optimizers.optimizers.items()},
            "schedulers": {name: value.state_dict() for name, value in self.optimizers.schedulers.items()},
            "scalers": self.grad_scaler.state_dict(),
        }
        write_checkpoint(state, self.checkpoint_dir, step, self.config.keep_checkpoints or None)
        self._saved_step = step

    def _after_train(self) -> None:
        """Ends the training; what was logged is on disk before the viewer goes on."""
        self.save_checkpoint(self.step)
        flush_events()
        super()._after_train()

    def _load_checkpoint(self) -> None:
        """Resumes from the newest readable checkpoint of load_dir, or from the named one."""
        config = self.config
        if config.load_checkpoint is not None:
            path = Path(config.load_checkpoint)
            state = read_checkpoint(path)
        elif config.load_dir is not None and config.load_step is not None:
            path = checkpoint_path(config.load_dir, config.load_step)
            state = read_checkpoint(path)
        elif config.load_dir is not None:
            state, path = read_newest_checkpoint(config.load_dir)
        else:
            return
        self._start_step = state["step"] + 1
        in_dense_start = self.pipeline.in_dense_start
        try:
            self.pipeline.load_pipeline(state["pipeline"], state["step"])
        except RuntimeError as error:
            first_lines = " ".join(line.strip() for line in str(error).splitlines()[:3])
            raise InputError(f"checkpoint {path} is of another network than these flags build: {first_lines}") from None
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"checkpoint {path} is damaged ({type(error).__name__}: {str(error)[:200]}).") from None
        if self.pipeline.in_dense_start != in_dense_start:
            self.optimizers = self.setup_optimizers()
        try:
            self._load_optimizers(state["optimizers"], path)
            if config.load_scheduler:
                self.optimizers.load_schedulers(state["schedulers"])
            self.grad_scaler.load_state_dict(state["scalers"])
        except InputError:
            raise
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(
                f"checkpoint {path} holds no state of optimisers that fits these flags ({type(error).__name__}: "
                f"{str(error)[:200]}). Resume from another one, or start anew without --load-dir."
            ) from None
        CONSOLE.print(f"Resuming after step {state['step']} from {path}")

    def _load_optimizers(self, states: dict[str, Any], path: Path) -> None:
        """Loads the states of all optimisers. Raises InputError for those of another algorithm."""
        for name, optimizer in self.optimizers.optimizers.items():
            if name not in states:
                continue
            saved, wanted = algorithm_of(states[name]), algorithm_of(optimizer.state_dict())
            if saved != wanted:
                raise InputError(
                    f"checkpoint {path} was trained by {saved}, but these flags train by {wanted}. Resume with "
                    f"--optimizers.{name}.optimizer.algorithm {saved}, or start anew without --load-dir."
                )
        self.optimizers.load_optimizers(states)
