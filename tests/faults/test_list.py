"""Every fault that training must survive, and the tests that it does: none may go missing."""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

FAULTS: dict[int, tuple[str, list[str]]] = {
    1: (
        "a run stopped at any step and resumed equals an uninterrupted one, bit for bit",
        ["training/test_loop.py::test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit"],
    ),
    2: (
        "the same with dropout, accumulated batches, in the middle of a pass",
        [
            "training/test_loop.py::test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit",
            "training/test_replay.py::"
            "test_the_state_after_any_step_is_that_of_training_bit_for_bit",
        ],
    ),
    3: (
        "the same on two ranks",
        [
            "training/test_distributed.py::"
            "test_a_run_resumed_by_as_many_processes_is_the_uninterrupted_one_bit_for_bit"
        ],
    ),
    4: (
        "SIGKILL at random moments of saving: the newest complete checkpoint loads",
        [
            "faults/test_checkpoint.py::"
            "test_a_kill_at_any_moment_of_saving_or_pruning_leaves_the_newest_checkpoint_whole",
            "faults/test_ranks.py::test_fifty_kills_of_a_rank_lose_nothing_that_was_saved",
        ],
    ),
    5: (
        "SIGKILL while pruning: at least one complete checkpoint remains",
        [
            "faults/test_checkpoint.py::"
            "test_a_kill_at_any_moment_of_saving_or_pruning_leaves_the_newest_checkpoint_whole"
        ],
    ),
    6: (
        "disk full while saving: the old one kept, the new one removed",
        [
            "faults/test_checkpoint.py::"
            "test_a_full_disk_keeps_the_old_checkpoint_removes_the_new_one_and_says_so"
        ],
    ),
    7: (
        "a read-only folder is refused before step 0",
        [
            "faults/test_run.py::"
            "test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained"
        ],
    ),
    8: (
        "SIGTERM saves at the end of the step, with a documented exit code",
        ["faults/test_run.py::test_a_signal_saves_at_the_step_says_how_to_go_on"],
    ),
    9: (
        "a second SIGTERM leaves at once, the old checkpoint intact",
        [
            "faults/test_run.py::"
            "test_a_second_signal_leaves_at_once_and_the_old_checkpoint_is_intact"
        ],
    ),
    10: (
        "two runs in one folder: the second is refused",
        [
            "faults/test_run.py::"
            "test_a_run_folder_in_use_is_refused_and_free_again_when_its_process_is_gone"
        ],
    ),
    11: (
        "a truncated file",
        [
            "faults/test_checkpoint.py::"
            "test_a_truncated_file_a_missing_file_and_a_missing_manifest_are_named"
        ],
    ),
    12: (
        "a flipped bit: the file is named",
        ["faults/test_checkpoint.py::test_one_flipped_bit_anywhere_is_refused_and_the_file_named"],
    ),
    13: (
        "a file from another step",
        ["faults/test_checkpoint.py::test_tensors_of_another_step_are_refused"],
    ),
    14: (
        "missing optimizer state is refused; --from, asked for, trains weights alone further",
        [
            "faults/test_checkpoint.py::"
            "test_a_truncated_file_a_missing_file_and_a_missing_manifest_are_named",
            "training/test_command.py::test_a_model_is_trained_further_with_its_own_tokenizer",
        ],
    ),
    15: (
        "another configuration: a difference field by field",
        ["training/test_loop.py::test_resuming_with_other_settings_is_refused_field_by_field"],
    ),
    16: (
        "another tokenizer of the same size: its fingerprint tells",
        [
            "faults/test_run.py::test_a_tokenizer_that_was_exchanged_is_refused_by_its_fingerprint",
            "text/test_shard.py::test_a_shard_of_another_tokenizer_of_the_same_size_is_refused",
        ],
    ),
    17: (
        "data changed since the checkpoint",
        [
            "training/test_loop.py::test_resuming_on_changed_data_is_refused",
            "text/test_shard.py::test_a_shard_that_was_cut_off_or_changed_is_refused_by_file",
        ],
    ),
    18: (
        "a loss that is not finite stops before the update, its batch saved",
        [
            "faults/test_run.py::"
            "test_a_loss_that_is_not_finite_stops_before_the_update_and_keeps_the_batch"
        ],
    ),
    19: (
        "a jump of the loss is logged and can be computed again",
        ["faults/test_training.py::test_a_jump_of_the_loss_is_logged_and_computed_again_alike"],
    ),
    20: (
        "an empty text, one of one token, one shorter than the context",
        [
            "training/test_command.py::test_bad_input_is_one_line_and_no_run_is_left_half_made",
            "text/test_blocks.py::test_a_text_of_one_token_is_too_short_with_no_n_ctx_to_suggest",
            "training/test_little_text.py::test_one_sentence_is_learned_whole",
        ],
    ),
    21: (
        "bytes that are not UTF-8, zero bytes, a byte order mark",
        [
            "text/test_corpus.py::test_a_bad_file_is_answered_with_its_place_and_cause_in_one_line",
            "text/test_corpus.py::test_a_byte_order_mark_is_no_part_of_the_text",
        ],
    ),
    22: (
        "malformed JSON lines, a missing column of a table",
        [
            "text/test_corpus.py::test_a_bad_file_is_answered_with_its_place_and_cause_in_one_line",
            "text/test_rows_and_tables.py::"
            "test_a_bad_row_or_file_of_a_table_is_answered_with_file_and_row",
        ],
    ),
    23: (
        "a token id beyond the vocabulary",
        [
            "text/test_shard.py::"
            "test_an_id_beyond_the_vocabulary_is_refused_by_file_and_id_whoever_signed_it",
            "text/test_shard.py::test_the_vocabulary_decides_how_wide_a_token_is",
        ],
    ),
    24: (
        "a dead rank: the job ends by a deadline with a line that names it",
        ["faults/test_ranks.py::test_a_rank_that_is_gone_or_stuck_is_named_and_the_job_ends"],
    ),
    25: (
        "a jump of the clock changes nothing",
        ["faults/test_training.py::test_a_clock_that_jumps_changes_nothing"],
    ),
    26: (
        "a checkpoint of an older version is read, one of another format refused by its number",
        [
            "faults/test_run.py::"
            "test_the_files_of_a_run_that_version_0_1_0_wrote_are_read_as_they_were_written",
            "faults/test_checkpoint.py::"
            "test_a_checkpoint_of_another_format_is_refused_by_its_version",
        ],
    ),
    27: (
        "a checkpoint from any device goes on on a CPU",
        ["faults/test_training.py::test_a_run_of_any_device_goes_on_on_the_cpu"],
    ),
    28: (
        "trained twice: equal checkpoints",
        [
            "faults/test_training.py::"
            "test_the_same_training_twice_leaves_checkpoints_of_the_same_bytes"
        ],
    ),
    29: (
        "forward pass and gradients in float64 against independent references",
        [
            "model/test_oracle.py::test_every_value_of_every_kind_of_model_is_the_oracles",
            "parity/test_families.py::test_gradients_of_all_weights_are_the_same",
            "trace/test_backward.py::test_a_finite_difference_finds_the_same_slope",
        ],
    ),
    30: (
        "parity with transformers",
        [
            "parity/test_families.py::test_logits_are_the_same_here",
            "parity/test_families.py::test_saved_here_it_is_the_same_folder_there",
        ],
    ),
    31: (
        "cached logits are those of the full pass at every length",
        ["generation/test_cache.py::test_cached_logits_are_the_uncached_ones_at_every_length"],
    ),
}


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", FAULTS)
def test_each_fault_has_its_tests(number: int):
    _, tests = FAULTS[number]
    assert tests
    for file, name in (test.split("::") for test in tests):
        assert name in names_in(file), f"fault {number}: {file} has no {name}"


def test_the_faults_are_all_thirty_one():
    assert [*FAULTS] == [*range(1, 32)]
