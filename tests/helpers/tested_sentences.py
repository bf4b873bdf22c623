"""What docs/data.md and sections on formats elsewhere promise, and where each is tested: digest -> subject and tests.

A sentence that is new or changed has another digest: look whether the tests still hold what it says, then enter it
(the failing test prints digest and sentence).
"""

from __future__ import annotations

OWN, FACTS, LEROBOT = (
    "episodes/test_import_own.py::",
    "episodes/test_import_facts.py::",
    "episodes/test_import_lerobot.py::",
)
HDF5, PAGE, REMEDIES = (
    "episodes/test_import_robomimic.py::",
    "episodes/test_data_md.py::",
    "episodes/test_import_remedies.py::",
)
RUN = PAGE + "test_the_commands_run"
FIGURE = "a figure or a heading"  # nothing behaves
OPTIONS = PAGE + "test_the_options_are_those_of_the_command_and_of_python"
V3, V21 = (
    LEROBOT + "test_v3_with_videos_images_tasks_and_chunks",
    LEROBOT + "test_v21_with_videos_images_tasks_and_chunks",
)
NEXT, LAST = (
    HDF5 + "test_next_obs_gives_the_final_observation",
    HDF5 + "test_without_next_obs_the_last_frame_is_the_final_observation",
)
LIBERO = FACTS + "test_liberos_files"
ISAAC = FACTS + "test_isaac_labs_files"
MANISKILL = FACTS + "test_raw_files_name_the_tool_that_adds_pictures_and_maniskills_with_pictures_are_read"
OPENPI, FITTED = (
    FACTS + "test_openpis_keys_are_understood_and_others_can_be_named",
    FACTS + "test_pictures_are_fitted_to_a_size_and_it_is_recorded",
)
OUTCOME = FACTS + "test_each_episode_keeps_its_own_outcome"
WORDS = FACTS + "test_instructions_by_file_and_column"
BAD, DEPTH = (
    FACTS + "test_every_bad_episode_is_named_at_once_by_the_sources_number_and_can_be_left_out",
    FACTS + "test_depth_is_not_taken_for_colour",
)
ABSOLUTE, SEEN = (
    FACTS + "test_absolute_actions_are_poses_without_bounds",
    FACTS + "test_actions_that_are_not_what_the_file_says_are_seen",
)
FINGERS, DRIFT = (
    FACTS + "test_fingers_that_open_when_told_to_close_are_seen",
    FACTS + "test_videos_that_drift_give_the_nearest_frame",
)
LATE, JPEG = (
    FACTS + "test_a_video_whose_first_frame_is_late_counts_from_it",
    FACTS + "test_pictures_as_jpeg_and_png_in_rows_and_by_path",
)
ODD = "episodes/test_import_odd_sources.py::"
COLOURLESS = ODD + "test_cameras_of_depth_by_their_names_are_imported_only_when_named"
KNOWN = LEROBOT + "test_what_the_user_knows_wins"
SHAPES = LEROBOT + "test_odd_but_legal_shapes"
MALFORMED, MALFORMED5 = (
    LEROBOT + "test_a_malformed_dataset_is_one_line_and_leaves_no_target",
    HDF5 + "test_a_malformed_file_is_one_line_and_leaves_no_target",
)
POSE = HDF5 + "test_robosuites_pose_controller_is_recognised"
NEEDED = HDF5 + "test_an_instruction_is_needed"
LOSSLESS, SIDECAR = (
    OWN + "test_export_then_import_is_lossless",
    OWN + "test_without_our_own_folder_only_the_final_observation_is_lost",
)
STATISTICS, APPEND = (
    OWN + "test_statistics_are_those_of_all_steps",
    OWN + "test_an_append_removes_statistics_and_a_damaged_file_hurts_nobody",
)
SAME, CLOSE = (
    "episodes/test_store_encodings.py::test_lossless_encodings_give_the_same_episodes",
    "episodes/test_store_encodings.py::test_a_lossy_store_is_close_and_hashed_as_it_is_read",
)
BLOCKS, NAMES = (
    "episodes/test_store_encodings.py::test_a_long_episode_is_written_and_read_in_parts",
    PAGE + "test_the_encodings_are_named_as_the_command_takes_them",
)
LABEL, LAYOUT = (
    "episodes/test_fit.py::test_labels_are_refused_before_the_first_and_the_way_out_works",
    "episodes/test_store.py::test_layout_is_lerobot_v3",
)
WAY = REMEDIES + "test_the_way_out_is_named_and_works"
TABLE = REMEDIES + "test_the_table_is_complete"
OXE = "episodes/test_import_oxe.py::test_a_data_set_becomes_training_windows_in_simplers_convention"
FEW = LEROBOT + "test_an_import_holds_a_few_episodes_not_the_dataset"
NEW = LEROBOT + "test_nothing_is_overwritten"
LINKS, CODE = (
    "episodes/test_links.py::test_imports_follow_no_link_out_of_the_folder",
    "test_no_code.py::test_no_load_path_can_run_code",
)
LEROBOTS = "scripts/check_lerobot.py"
SPEED = "benchmarks/loader_speed.py"
FIT, HOSTILE, REMOTE, BENCH = (
    "experiments/test_fit_consumers.py::",
    "agents/test_serve_hostile.py::",
    "agents/test_remote.py::",
    "valuefns/test_value_bench.py::",
)
SCRIPTS = (LEROBOTS, SPEED)  # run by hand: they need other packages, or measure

PROMISES: dict[str, tuple[str, ...]] = {
    "a0b743": ("missing facts", REMEDIES + "test_all_that_a_file_does_not_say_is_asked_for_at_once"),
    "5541a1": ("what a store is", LAYOUT),
    "fbad8a": ("import of a LeRobotDataset", RUN, V3, V21),
    "c47470": ("import of HDF5", RUN, NEXT),
    "c9794d": ("import of Open X-Embodiment", RUN, OXE),
    "c3fa8f": ("copy of a store", RUN, LOSSLESS),
    "f6d843": ("in Python", OPTIONS, LOSSLESS),
    "fda12c": ("source and target", NEW, MALFORMED),
    "251cb0": ("errors name the way out", WAY, TABLE),
    "7b807e": ("head of the options", OPTIONS),
    "845e0d": ("success=", OUTCOME, ODD + "test_a_column_of_yes_and_no_in_any_form", WAY),
    "c36238": ("instruction=", WORDS, KNOWN),
    "da0a2f": ("cameras=, state=, action=", OPENPI, LIBERO, COLOURLESS),
    "8c9b90": ("image_size=", FITTED, PAGE + "test_cameras_of_two_sizes_go_together_at_one"),
    "fd707f": ("tolerance=", DRIFT, LATE, OPTIONS),
    "6eb866": ("hz=, actions=, spec=", ISAAC, SEEN, FINGERS, WAY),
    "59e866": ("skip=", BAD, RUN),
    "b06ecd": ("encoding=", NAMES, SAME, CLOSE),
    "7f5c6d": ("blocks", BLOCKS, FEW),
    "49b360": ("reading at a size", FITTED, LABEL),
    "d6f026": ("what was measured", FIGURE),
    "53fbbd": ("head of the measurements", FIGURE),
    "b20da1": ("measured: before blocks (png), 10 s", FIGURE),
    "94a322": ("measured: png, 10 s", FIGURE),
    "b8c085": ("measured: png, 1 min", FIGURE),
    "491363": ("measured: mp4 lossless, 10 s", FIGURE),
    "e2719a": ("measured: mp4, 10 s", FIGURE),
    "06faf0": ("measured: mp4, 1 min", FIGURE),
    "b44f9d": ("measured: mp4, 3 min", FIGURE),
    "75f471": ("measured: png, image_size=[96,96], 1 min", FIGURE),
    "8a4f7a": ("measured: mp4, 10 min", FIGURE),
    "90aa94": ("measured: png, image_size=[96,96], 10 min", FIGURE),
    "e72276": ("head of the formats", FIGURE),
    "11e876": ("layouts", V3, V21, SHAPES, OPENPI, NEXT, LIBERO, ISAAC, MANISKILL),
    "a0c5db": ("steps", V3, NEXT, LAST, MANISKILL),
    "63aa78": ("final observation", V3, NEXT, LAST),
    "7f7c1b": ("last row", V3, LAST),
    "a53ae8": ("images", JPEG, V3, DEPTH, LIBERO, ISAAC),
    "ed3bbe": ("camera names", V3, OPENPI, NEXT, LIBERO),
    "020a0a": ("source of the instruction", V3, LAST, LIBERO),
    "4197d5": (
        "source of success",
        OUTCOME,
        ISAAC,
        NEXT,
        ODD + "test_rewards_that_are_not_sparse_say_no_success",
        ODD + "test_a_demonstrations_own_success_comes_before_its_rewards",
    ),
    "ff513e": ("rewards", V3, NEXT),
    "815a5d": ("how it ended", V3, NEXT, SIDECAR),
    "c776b0": ("rate", V3, NEXT, ISAAC),
    "816a05": ("steps or poses", POSE, ABSOLUTE, ODD + "test_controllers_in_a_list_and_their_ranges"),
    "992612": ("arrays against what is said", SEEN, FINGERS, NEXT),
    "a28974": ("nothing is clipped", ABSOLUTE, NEXT),
    "93d8b9": ("unknown facts", SHAPES, NEXT, SIDECAR),
    "597eec": ("unknown facts of the EnvSpec", V3, POSE),
    "b948d0": ("a store without its sidecar", SIDECAR),
    "19e8f3": ("not imported", MANISKILL, DEPTH, NEXT, COLOURLESS, ODD + "test_transparency_is_left_out"),
    "64bfba": ("float32", NEXT, SHAPES),
    "dd7e99": ("no code, no way out of the dataset", CODE, LINKS, MALFORMED, MALFORMED5),
    "8d3b5c": ("export", RUN, LEROBOTS),
    "d84da6": ("statistics", STATISTICS, OWN + "test_images_are_sampled_evenly", LEROBOTS),
    "c23f11": ("an append removes them", APPEND),
    "dd601c": ("what LeRobot does not see", LEROBOTS),
    "d89073": ("statistics of episodes", LEROBOTS),
    "8740a1": ("a vector of one entry", OWN + "test_what_cannot_be_exported_is_said"),
    "a7dc24": ("scripts", LEROBOTS, SPEED),
    # docs/simpler.md, Policy servers
    "0fa768": (
        "the protocol",
        REMOTE + "test_the_server_answers_what_the_policy_would_and_in_batches",
        REMOTE + "test_the_token_and_the_guidance_are_settings",
    ),
    "1f6e1d": (
        "batches and health",
        REMOTE + "test_the_server_answers_what_the_policy_would_and_in_batches",
        HOSTILE + "test_pages_and_foreign_names_are_refused_at_both_doors",
    ),
    "356d1a": ("who may ask", HOSTILE + "test_pages_and_foreign_names_are_refused_at_both_doors"),
    "2eadf8": ("slots", HOSTILE + "test_connections_that_ask_nothing_lock_nobody_out"),
    "bb05ef": (
        "pictures of another size",
        FIT + "test_the_requests_to_a_policy_server",
        FIT + "test_a_server_that_was_told_to_fits_pictures_and_keeps_their_shape",
    ),
    "552c92": (
        "a bad request",
        REMOTE + "test_a_bad_request_is_refused_and_the_server_goes_on",
        HOSTILE + "test_one_hostile_client_of_eight_changes_no_bit_of_the_others_answers",
    ),
    "72d084": ("head of the messages", FIGURE),
    "b93c95": (
        "the messages",
        FIT + "test_the_requests_to_a_policy_server",
        HOSTILE + "test_clients_without_a_seed_are_answered_by_a_fresh_server",
    ),
    "97ceda": ("which policy answers", "experiments/test_one_writer.py::test_another_policy_behind_the_same_address"),
    "d995f0": ("of foreign servers nothing is known", REMOTE + "test_a_foreign_server_is_asked_in_its_own_words"),
    "c8ccf4": ("another environment", FIT + "test_the_handshake_with_a_policy_server"),
    "3e0295": (
        "adapters",
        REMOTE + "test_a_foreign_server_is_asked_in_its_own_words",
        REMOTE + "test_bad_adapters_are_refused",
    ),
    "0cdf5a": (
        "what adapters do",
        REMOTE + "test_poses_go_there_and_back",
        REMOTE + "test_grippers",
        REMOTE + "test_a_foreign_server_is_asked_in_its_own_words",
    ),
    # docs/scale.md, Open X-Embodiment
    "694618": ("conversion", OXE, "episodes/test_import_oxe.py::test_conversions_there_and_back"),
    "dd366d": ("a copy with another convention", "episodes/test_import_oxe.py::test_what_is_not_said_is_not_guessed"),
    # docs/value_bench.md, Your own episodes
    "ee80a0": (
        "sources",
        BENCH + "test_own_data_through_the_command",
        FIT + "test_own_data_are_imported_once_and_read_at_any_size",
    ),
    "de9e63": ("head of the annotations", FIGURE),
    "0d2216": ("lines of annotations", BENCH + "test_annotation_files"),
    "4fc129": (
        "labels into a dataset",
        "experiments/test_advantage.py::test_labels_go_back_into_the_dataset_they_came_from",
    ),
    "250e0b": ("what they mean", BENCH + "test_annotation_files", BENCH + "test_one_bad_episode_never_stops_a_run"),
    "1551cc": (
        "the training split",
        BENCH + "test_models_learn_from_named_types_or_groups",
        BENCH + "test_own_data_through_the_command",
    ),
    "9038e9": (
        "episodes that cannot be scored",
        BENCH + "test_one_bad_episode_never_stops_a_run",
        BENCH + "test_own_data_through_the_command",
    ),
    "8759a5": (
        "a checkpoint of other data",
        FIT + "test_commands_that_read_a_store_with_a_value",
        FIT + "test_reading_at_the_size_that_the_line_names_works",
    ),
}
