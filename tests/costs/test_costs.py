"""What is counted on imagined tensors is what real ones do, and rates turn it into seconds."""

from __future__ import annotations

import time

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dcal.costs import prediction, rates
from dcal.costs.imagined import count_step_work
from dcal.costs.prediction import predict
from dcal.costs.rates import Rates, Shape, measure_rates, predict_seconds
from dcal.costs.work import Work, WorkRecorder
from dcal.models.build import build_model, count_parameters
from dcal.models.cost import count_forward_macs
from tests.models.factory import make_config
from tests.training.factory import make_train_config

CLASSES = 24
SMALL = {"backbone": "dcal_pico", "image_size": (32, 48), "pwca_blocks": 6}


def make_pico_config(**changes):
    return make_config(**{**SMALL, **changes})


def count(train=None, **changes):
    train = make_train_config(**{"batch_size": 4, **(train or {})})
    return count_step_work(make_pico_config(**changes), train, num_classes=CLASSES)


@pytest.mark.parametrize(
    "readout, pwca_blocks", [("class", 0), ("class", 6), ("local", 3), ("class_local", 6)]
)
def test_inference_is_counted_as_the_arithmetic_says(readout, pwca_blocks):
    found = count(readout=readout, pwca_blocks=pwca_blocks)
    model = build_model(make_pico_config(readout=readout, pwca_blocks=pwca_blocks), CLASSES)
    cost = count_forward_macs(model)
    macs = 4 * (cost.embedding + cost.sa + cost.glca + cost.rollout)
    assert found.inference.products + found.inference.attention == 2 * macs
    assert found.num_parameters == count_parameters(model)


@pytest.mark.parametrize("changes", [{}, {"readout": "class"}, {"stream": "mutual"}])
def test_a_training_step_is_counted_as_a_real_one_does_it(changes):
    work = count(train={"clip_norm": None}, **changes).training
    model = build_model(make_pico_config(**changes), CLASSES).train()
    images, labels = torch.randn(4, 3, 32, 48), torch.arange(4)
    # Fused attention on a CPU is unknown to torch's counter.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model(images, distractor_indices=labels.roll(1))
        logits = (output.sa_logits, output.glca_logits, output.pwca_logits)
        sum(F.cross_entropy(part, labels) for part in logits).backward()
    # Written out, attention's backward pass has four products; fused, one more.
    counted = work.products + work.attention + work.attention_gradients * 4 / 5
    assert counted == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_peak_memory_is_that_of_all_tensors_at_once():
    def step():
        first = torch.ones(1000)  # 4,000 bytes
        second = first + 1
        del first
        return second * 2

    with WorkRecorder() as recorder:
        step()
    assert recorder.work.peak_bytes == 8000


def test_what_is_held_counts_until_it_is_freed():
    held = [torch.zeros(1000), torch.zeros(500)]
    with WorkRecorder(held) as recorder:
        del held[0]
        torch.ones(700)
    assert recorder.work.peak_bytes == 6000
    with WorkRecorder(held) as recorder:
        torch.ones(700)
    assert recorder.work.peak_bytes == 4800


def test_between_two_steps_there_are_weights_gradients_and_moments():
    work = count(train={"batch_size": 2, "ema_decay": None, "optimizer": "adamw"})
    sgd = count(train={"batch_size": 2, "ema_decay": None, "optimizer": "sgd"})
    weights = 4 * work.num_parameters
    assert work.training.peak_bytes > 4 * weights
    assert work.training.peak_bytes - sgd.training.peak_bytes == pytest.approx(weights, rel=0.01)


def test_views_move_nothing_and_a_storage_counts_once():
    base = torch.zeros(10, 10)
    with WorkRecorder() as recorder:
        base.t().reshape(-1)[:50].view(5, 10)
    assert recorder.work.calls == 1  # of a transposed matrix, reshape makes a copy
    assert recorder.work.moved == 2 * 400
    assert recorder.work.peak_bytes == 800


def test_memory_grows_with_the_batch_and_falls_with_checkpointing():
    config = make_pico_config()

    def peak(**changes):
        train = make_train_config(**changes)
        return count_step_work(config, train, num_classes=CLASSES).training.peak_bytes

    few, many = peak(batch_size=16), peak(batch_size=32)
    assert few < many < 2 * few
    assert peak(batch_size=32, gradient_checkpointing=True) < 0.6 * many


def test_an_average_and_clipping_are_counted():
    plain = count(train={"clip_norm": None, "ema_decay": None}).training
    assert count(train={"clip_norm": 1.0, "ema_decay": None}).training.moved > plain.moved
    average = count(train={"clip_norm": None, "ema_decay": 0.9})
    assert average.training.peak_bytes - plain.peak_bytes >= 4 * average.num_parameters


def test_distractors_from_the_loader_cost_a_pass_of_their_own():
    usual = count().training
    assert count(distractor="other").training == usual
    assert count(distractor="noise").training.products > 1.2 * usual.products


def test_side_information_can_be_counted_without_a_data_set():
    assert count(side_information="camera_view").num_parameters > count().num_parameters


def test_counting_makes_no_weights():
    model = make_config(
        backbone="vit_base_patch16_224", image_size=(448, 448), pwca_blocks=12, glca_blocks=1
    )
    work = count_step_work(model, make_train_config(batch_size=256), num_classes=200)
    assert work.training.peak_bytes > 64 * 2**30  # more than this machine has


def test_seconds_are_work_over_rates():
    work = Work(10.0, 20.0, 30.0, 40.0, 5, 0)
    found = predict_seconds(work, Rates(1.0, 2.0, 3.0, 4.0, 0.5))
    assert found == {"products": 10, "attention": 20, "moved": 10, "calls": 2.5}


def test_rates_are_work_over_what_the_calls_leave_of_the_time(monkeypatch):
    def measure(self, function):
        with WorkRecorder() as recorder:
            function()
        work = recorder.work
        return rates._Measured(work, work.calls + work.products / 1e3 + work.attention / 2e3)

    monkeypatch.setattr(rates._Timing, "measure", measure)
    found = measure_rates(Shape(8, 50, 64, 2, 256))
    assert found.call_seconds == 1
    assert found.products == pytest.approx(1e3) and found.attention == pytest.approx(2e3)


def test_a_clock_that_goes_by_the_work_shows_its_rates(monkeypatch):
    true = Rates(4e6, 2e6, 1e6, 8e7, 1e-3)
    with WorkRecorder() as recorder, monkeypatch.context() as patch:
        patch.setattr(
            time, "perf_counter", lambda: sum(predict_seconds(recorder.work, true).values())
        )
        found = measure_rates(Shape(8, 50, 64, 2, 256), rounds=1)
    assert found._asdict() == pytest.approx(true._asdict(), rel=0.05)


def test_of_two_measurements_the_faster_counts_kind_by_kind():
    found = rates.take_faster(Rates(1.0, 5.0, 3.0, 9.0, 0.5), Rates(2.0, 4.0, 6.0, 8.0, 0.7))
    assert found == Rates(2.0, 5.0, 6.0, 9.0, 0.5)


def test_measured_rates_are_a_machines():
    found = measure_rates(Shape(2, 50, 64, 2, 256), rounds=2)
    assert all(value > 0 for value in found)
    assert 1e8 < found.products < 1e15 and 1e7 < found.moved < 1e14


def test_a_prediction_compares_with_sa_alone():
    train = make_train_config(batch_size=4)
    found = predict(make_pico_config(), train, num_classes=CLASSES)
    assert found.training.seconds > found.sa_training.seconds > found.sa_inference.seconds > 0
    assert found.training.peak_bytes > found.inference.peak_bytes
    assert set(found.training.seconds_by_kind) == {"products", "attention", "moved", "calls"}
    plain = predict(make_pico_config(glca_blocks=0, pwca_blocks=0), train, num_classes=CLASSES)
    assert plain.training.seconds_by_kind == plain.sa_training.seconds_by_kind
    assert plain.training.peak_bytes == plain.sa_training.peak_bytes


def test_a_model_that_cannot_be_built_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match=r"model\.image_size: expected multiples"):
        count(image_size=(33, 48))


def test_large_shapes_are_timed_on_a_part_of_them():
    small = Shape(batch=8, tokens=197, width=192, heads=3, hidden=768)
    assert rates.cap_shape(small) == small
    many = rates.cap_shape(small._replace(batch=4096))
    assert many.batch == rates.MOST_ELEMENTS // (197 * 768) and many.tokens == 197
    huge = rates.cap_shape(Shape(64, 65_537, 768, 12, 3072))
    assert (huge.batch, huge.tokens, huge.width) == (1, rates.MOST_TOKENS, 768)


@pytest.mark.parametrize("spares_memory", [False, True])
def test_what_the_process_itself_takes_is_part_of_the_prediction(spares_memory, monkeypatch):
    ones = Rates(1.0, 1.0, 1.0, 1.0, 0.0)
    monkeypatch.setattr(prediction, "measure_rates", lambda *_, **__: ones)
    options = {"batch_size": 4, "gradient_checkpointing": spares_memory}
    train = make_train_config(**options)
    found = predict(make_pico_config(), train, num_classes=CLASSES)
    own = prediction.count_process_bytes("cpu", spares_memory=spares_memory)
    assert found.training.peak_bytes == count(train=options).training.peak_bytes + own
    # Gaps are in what is kept.
    assert (own < prediction.count_process_bytes("cpu", spares_memory=False)) == spares_memory
    assert prediction.count_process_bytes("cuda", spares_memory=spares_memory) == 0


def test_the_faster_of_two_measurements_counts(monkeypatch):
    measured = [Rates(1.0, 4.0, 1.0, 4.0, 2.0), Rates(2.0, 3.0, 2.0, 3.0, 1.0)]
    monkeypatch.setattr(prediction, "measure_rates", lambda *_, **__: measured.pop())
    found = predict(make_pico_config(), make_train_config(batch_size=4), num_classes=CLASSES)
    assert found.rates == Rates(2.0, 4.0, 2.0, 4.0, 1.0)
