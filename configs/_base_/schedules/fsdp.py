"""Fully sharded training: every process keeps a part of weights, gradients and optimizer state.

Name it last in `_base_` and start with torchrun:

    torchrun --nproc_per_node 8 tools/train.py CONFIG --launcher pytorch
"""

runner_type = "FlexibleRunner"
strategy = dict(
    type="FSDPStrategy",
    state_dict_cfg="full",
    model_wrapper=dict(
        type="MMFullyShardedDataParallel",
        use_orig_params=True,
        auto_wrap_policy=dict(type="torch.distributed.fsdp.wrap.size_based_auto_wrap_policy", min_num_params=1_000_000),
    ),
)
