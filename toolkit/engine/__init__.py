"""What training adds to mmengine's Runner: exact resuming, bf16 on any device, clean stops, readable progress."""

from mmengine.registry import HOOKS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, RUNNERS

from toolkit.registry import lazy

lazy(RUNNERS, "toolkit.engine.runner", "ToolkitRunner")
lazy(HOOKS, "toolkit.engine.hooks", "ReproducibleHook", "RemoveHook", "StopHook", "ProgressHook", "CurvesHook")
lazy(HOOKS, "toolkit.engine.checkpointing", "SafeCheckpointHook")
lazy(HOOKS, "toolkit.engine.metric_plots", "MetricPlotsHook")
lazy(OPTIM_WRAPPERS, "toolkit.engine.amp", "BFloat16OptimWrapper")
lazy(OPTIM_WRAPPER_CONSTRUCTORS, "toolkit.engine.optimizers", "OptimizersByPart")
lazy(OPTIMIZERS, "toolkit.engine.lookahead", "Lookahead")
lazy(HOOKS, "toolkit.engine.positions", "ClampPositionsHook")
lazy(HOOKS, "toolkit.engine.orthogonality", "OrthogonalityHook")
