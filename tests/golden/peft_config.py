"""Makes adapter_config.json, the golden file of tests/host/format/test_peft.c, with PEFT 0.21.2: every
key that graft honours has a value of its own. The lists have one order only because they have one item.

    python tests/golden/peft_config.py tests/golden
"""

import sys

from peft import LoraConfig

config = LoraConfig(
    task_type="CAUSAL_LM",
    base_model_name_or_path="models/h\u00e9llo \U0001f600 \"x\"",
    r=12,
    lora_alpha=2.5,
    lora_dropout=0.05,
    use_rslora=True,
    target_modules=["q_proj"],
    exclude_modules="model\\.layers\\.3\\..*",
    layers_to_transform=[0, 2, 5],
    rank_pattern={"layers.0.*q_proj": 4},
    alpha_pattern={"layers.0.*q_proj": 7, "q_proj": 1.5},
    inference_mode=True,
)
config.save_pretrained(sys.argv[1])
