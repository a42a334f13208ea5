#!/usr/bin/env python3
"""Has TensorBoard's own reader and Prometheus' own parser read what a run writes.

    tests/host/train/watch_run.py build/bin/graft tests/golden/cases/llama-gqa/model

Trains, cuts the run back to a checkpoint, resumes it, and compares every event with metrics.jsonl:
all steps once, in order, the same values. Needs tensorboard and prometheus_client (77: skipped)."""
import glob, json, os, shutil, struct, subprocess, sys, tempfile

try:
    from prometheus_client.parser import text_string_to_metric_families
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)


def train(graft, model, folder, *more):
    with open(os.path.join(folder, "data.jsonl"), "w") as f:
        for e in range(24):
            f.write(json.dumps({"input_ids": [3 + (13 * e + 17 * t) % 90 for t in range(12 + e % 5)]}) + "\n")
    command = [graft, "train", "--model", model, "--data", "data.jsonl", "--eval-data", "data.jsonl",
               "--output-dir", "out", "--batch-size", "4", "--num-train-epochs", "4", "--eval-steps", "4",
               "--save-steps", "6", "--save-total-limit", "9", "--threads", "1", "--metrics-file", 'a "b".prom', *more]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)


def check_events(folder):
    metrics = [json.loads(l) for l in open(os.path.join(folder, "out/metrics.jsonl"))]
    runs = os.listdir(os.path.join(folder, "out/runs"))
    assert runs == ["out"], runs
    a = EventAccumulator(os.path.join(folder, "out/runs/out"), size_guidance={"scalars": 0, "tensors": 0})
    a.Reload()
    f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    pairs = [("train/" + k, k, "loss") for k in ("loss", "grad_norm", "learning_rate", "epoch", "tokens_per_second")]
    pairs += [("eval/loss", "eval_loss", "eval_loss"), ("eval/accuracy", "eval_accuracy", "eval_loss")]
    for tag, key, has in pairs:
        got = [(s.step, s.value) for s in a.Scalars(tag)]
        want = [(m["step"], f32(m[key])) for m in metrics if has in m]
        assert got == want, (tag, got, want)
    tags = a.Tags()
    assert "options/text_summary" in tags["tensors"], tags
    table = a.Tensors("options/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert "| learning_rate | 0.0002 |" in table, table
    content = a.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert start["lora_r"].number_value == 16 and start["precision"].string_value == "auto", start
    content = a.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    assert {m.name.tag for m in experiment.metric_infos} == {"train/loss", "eval/loss", "eval/accuracy"}
    content = a.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info.status == 1
    print(f"TensorBoard: {len(pairs)} tags agree with metrics.jsonl over {len(metrics)} lines")


def check_prometheus(folder):
    last = [json.loads(l) for l in open(os.path.join(folder, "out/metrics.jsonl"))]
    families = {f.name: f for f in text_string_to_metric_families(open(os.path.join(folder, 'a "b".prom')).read())}
    value = lambda name: families[name].samples[0].value
    assert value("graft_step") == last[-1]["step"] and value("graft_running") == 0
    assert value("graft_loss") == [m for m in last if "loss" in m][-1]["loss"]
    assert value("graft_eval_loss") == last[-1]["eval_loss"]
    for f in families.values():
        assert f.name.startswith("graft_") and f.documentation and f.type in ("gauge", "counter"), f
        assert all(s.labels["run"] == "out" for s in f.samples), f
    print(f"Prometheus: {len(families)} metrics")


def main():
    graft, model = map(os.path.abspath, sys.argv[1:3])
    with tempfile.TemporaryDirectory() as folder:
        train(graft, model, folder)
        check_events(folder)
        check_prometheus(folder)
        # as if it had been killed behind step 6's checkpoint: later steps are in the first file, too
        for name in ("checkpoint-12", "checkpoint-18", "checkpoint-24"):
            shutil.rmtree(os.path.join(folder, "out", name))
        os.remove(os.path.join(folder, "out/adapter_model.safetensors"))
        train(graft, model, folder, "--resume")
        assert len(glob.glob(os.path.join(folder, "out/runs/out/*"))) == 2
        check_events(folder)
        check_prometheus(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
