"""The tests that `scripts/test --fast` leaves out.

They start many processes, compile, train, draw hundreds of pictures, or compare with other
programs: a third of the tests, and nine tenths of the time. Also slow is whatever uses one of
the FIXTURES, each of which starts processes. All get the marker `slow` when they are collected.
"""

from __future__ import annotations

from collections.abc import Mapping

FIXTURES = {"interruptible", "nirtorch"}

ALL = ("",)
"""Every test of a file."""

SLOW: Mapping[str, tuple[str, ...]] = {
    "batch/test_conversions.py": ALL,
    "batch/test_pool.py": ALL,
    "batch/test_many_repairs.py": ALL,
    "batch/test_static.py": (
        "test_where_there_is_no_torch",
        "test_a_static_check_says_what_a_conversion_finds",
    ),
    "batch/test_reports.py": ("test_hostile_names",),
    "cli/test_check.py": ALL,
    "cli/test_completion.py": ("test_at_a_prompt_of_bash",),
    "cli/test_config.py": (
        "test_a_file_that_is_named_may",
        "test_a_key_of_check",
        "test_each_file_of_a_check_gets_its_own",
        "test_each_file_of_many_gets_its_own",
        "test_patterns_of_a_folder_with_odd_names",
        "test_the_library_takes_options_of_single_files",
    ),
    "cli/test_current_folder.py": ALL,
    "cli/test_failures.py": (
        "test_a_full_stdout",
        "test_a_map_that_is_not_there_when_loading",
        "test_a_module_through_a_pipe",
        "test_a_reader_that_has_seen_enough",
        "test_closed_streams",
    ),
    "cli/test_plain_words.py": ALL,
    "cli/test_run.py": ALL,
    "cli/test_schema.py": ("test_a_document", "test_checked_and_converted_files"),
    "cli/test_run_shards.py": ALL,
    "cli/test_tables.py": ("test_a_table_in_a_terminal",),
    "conversion/artefacts/test_exported_programs.py": ALL,
    "conversion/artefacts/test_interrupted_writes.py": ALL,
    "conversion/artefacts/test_onnx.py": ALL,
    "conversion/artefacts/test_shown.py": ALL,
    "conversion/artefacts/test_source.py": ("test_every_neuron_with_every_meaning",),
    "conversion/artefacts/test_source_files.py": (
        "test_in_a_process_of_their_own",
        "test_the_source_is_tidy",
    ),
    "conversion/artefacts/test_source_of_maps.py": ("test_packs",),
    "conversion/test_faulty_maps.py": ALL,
    "conversion/test_graph_module.py": (
        "test_compiled",
        "test_compiled_by_inductor",
        "test_exported",
    ),
    "conversion/test_naming.py": ("test_hostile_names_survive_saving",),
    "drawing/test_draw.py": ("test_a_conversion_loads_no_drawing",),
    "drawing/test_pictures.py": ALL,
    "drawing/test_runs.py": ALL,
    "frameworks/test_packs.py": ALL,
    "graph/test_cycles.py": ALL,
    "graph/test_damage.py": ALL,
    "graph/test_delays_in_loops.py": ("test_random_graphs", "test_a_warning_names_the_elements"),
    "graph/test_demand.py": ALL,
    "graph/test_repairs.py": ("test_the_repaired_file_is_one_that_nir_accepts",),
    "graph/test_schedule.py": (
        "test_delayed_and_ambiguous_are_what_dominators_say",
        "test_the_hash_seed_does_not_count",
    ),
    "mappings/test_equations.py": ("test_saved_and_loaded_in_a_fresh_process",),
    "mappings/test_layers.py": (
        "test_saved_after_a_step_of_training_and_loaded_in_a_fresh_process",
    ),
    "primitives/test_precision.py": (
        "test_increments_that_a_type_loses_are_a_warning",
        "test_what_is_told_is_true",
    ),
    "reading/test_hostile.py": ALL,
    "reading/test_other_words.py": ALL,
    "running/engine/test_compiler.py": ALL,
    "running/test_memory.py": ALL,
    "running/test_sequence.py": ("test_networks",),
    "test_architecture.py": (
        "test_a_public_name_is_the_same_whatever_was_used_before",
        "test_converting_loads_torch",
        "test_repairing_and_checking_load_no_torch_here",
        "test_what_is_loaded",
    ),
    "test_frameworks.py": ALL,
    "test_fuzz.py": ALL,
    "test_linear_cost.py": ALL,
    "test_pages.py": (
        "test_commands_print_what_the_page_shows",
        "test_programs_pass_mypy_strict",
        "test_python_examples",
        "test_the_commands_of_the_ci_jobs",
        "test_the_demo",
    ),
    "test_planted.py": ALL,
    "test_planted_files.py": ALL,
    "test_real_files.py": ALL,
    "test_surface.py": (
        "test_a_program_passes_mypy",
        "test_check",
        "test_check_contents",
        "test_check_refuses",
        "test_check_with_options",
    ),
}
"""By file, the names of its slow tests."""


def is_slow(file: str, name: str, fixtures: set[str]) -> bool:
    """Whether a test of a file, from the folder of the tests, is slow."""
    names = SLOW.get(file, ())
    return names == ALL or name in names or bool(FIXTURES & fixtures)
