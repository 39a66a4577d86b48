/*
 * The memory layout of every public struct, pinned. Bindings that cannot read the header (ctypes and the like) repeat
 * these layouts, and hosts compiled against an older header rely on them. Structs grow at the end only: new members add
 * lines and raise the size; no other line ever changes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "igdm.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "sizeof(" #type ") is part of the ABI")
#define AT(type, member, bytes) \
    _Static_assert(offsetof(type, member) == (bytes), "the offset of " #type "." #member " is part of the ABI")

_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "igdm supports 64-bit platforms only");

SIZE(igdm_model_options, 112);
AT(igdm_model_options, struct_size, 0);
AT(igdm_model_options, reserved0, 4);
AT(igdm_model_options, classes, 8);
AT(igdm_model_options, channels, 16);
AT(igdm_model_options, height, 24);
AT(igdm_model_options, width, 32);
AT(igdm_model_options, base_width, 40);
AT(igdm_model_options, seed, 48);
AT(igdm_model_options, mean, 56);
AT(igdm_model_options, std, 64);
AT(igdm_model_options, normalisation_count, 72);
AT(igdm_model_options, shortcut_input, 80);
AT(igdm_model_options, final_bn, 88);
AT(igdm_model_options, reserved, 96);

SIZE(igdm_model_info, 112);
AT(igdm_model_info, struct_size, 0);
AT(igdm_model_info, reserved0, 4);
AT(igdm_model_info, classes, 8);
AT(igdm_model_info, channels, 16);
AT(igdm_model_info, height, 24);
AT(igdm_model_info, width, 32);
AT(igdm_model_info, base_width, 40);
AT(igdm_model_info, parameter_count, 48);
AT(igdm_model_info, multiply_adds, 56);
AT(igdm_model_info, architecture, 64);
AT(igdm_model_info, has_normalisation, 72);
AT(igdm_model_info, shortcut_input, 80);
AT(igdm_model_info, final_bn, 88);
AT(igdm_model_info, reserved, 96);

SIZE(igdm_load_options, 56);
AT(igdm_load_options, struct_size, 0);
AT(igdm_load_options, reserved0, 4);
AT(igdm_load_options, allow_not_finite, 8);
AT(igdm_load_options, verify, 12);
AT(igdm_load_options, tolerance, 16);
AT(igdm_load_options, reserved, 24);

SIZE(igdm_checkpoint_info, 152);
AT(igdm_checkpoint_info, struct_size, 0);
AT(igdm_checkpoint_info, reserved0, 4);
AT(igdm_checkpoint_info, format_version, 8);
AT(igdm_checkpoint_info, file_bytes, 16);
AT(igdm_checkpoint_info, architecture, 24);
AT(igdm_checkpoint_info, classes, 32);
AT(igdm_checkpoint_info, channels, 40);
AT(igdm_checkpoint_info, height, 48);
AT(igdm_checkpoint_info, width, 56);
AT(igdm_checkpoint_info, base_width, 64);
AT(igdm_checkpoint_info, parameter_count, 72);
AT(igdm_checkpoint_info, multiply_adds, 80);
AT(igdm_checkpoint_info, has_normalisation, 88);
AT(igdm_checkpoint_info, array_count, 96);
AT(igdm_checkpoint_info, metadata_count, 104);
AT(igdm_checkpoint_info, golden_count, 112);
AT(igdm_checkpoint_info, golden_source, 120);
AT(igdm_checkpoint_info, shortcut_input, 128);
AT(igdm_checkpoint_info, final_bn, 136);
AT(igdm_checkpoint_info, reserved, 144);

SIZE(igdm_dataset_info, 80);
AT(igdm_dataset_info, struct_size, 0);
AT(igdm_dataset_info, reserved0, 4);
AT(igdm_dataset_info, count, 8);
AT(igdm_dataset_info, classes, 16);
AT(igdm_dataset_info, channels, 24);
AT(igdm_dataset_info, height, 32);
AT(igdm_dataset_info, width, 40);
AT(igdm_dataset_info, reserved, 48);

SIZE(igdm_progress, 72);
AT(igdm_progress, struct_size, 0);
AT(igdm_progress, reserved0, 4);
AT(igdm_progress, stage, 8);
AT(igdm_progress, done, 16);
AT(igdm_progress, total, 24);
AT(igdm_progress, seconds, 32);
AT(igdm_progress, eta_seconds, 40);
AT(igdm_progress, accuracy, 48);
AT(igdm_progress, reserved, 56);

SIZE(igdm_attack_tuning, 80);
AT(igdm_attack_tuning, struct_size, 0);
AT(igdm_attack_tuning, reference_quirks, 4);
AT(igdm_attack_tuning, rho, 8);
AT(igdm_attack_tuning, fab_alpha, 16);
AT(igdm_attack_tuning, fab_eta, 24);
AT(igdm_attack_tuning, fab_beta, 32);
AT(igdm_attack_tuning, square_share, 40);
AT(igdm_attack_tuning, reserved, 48);

SIZE(igdm_attack_options, 160);
AT(igdm_attack_options, struct_size, 0);
AT(igdm_attack_options, random_start, 4);
AT(igdm_attack_options, attack, 8);
AT(igdm_attack_options, norm, 16);
AT(igdm_attack_options, loss, 24);
AT(igdm_attack_options, epsilon, 32);
AT(igdm_attack_options, step, 40);
AT(igdm_attack_options, steps, 48);
AT(igdm_attack_options, restarts, 56);
AT(igdm_attack_options, kappa, 64);
AT(igdm_attack_options, seed, 72);
AT(igdm_attack_options, early_stop, 80);
AT(igdm_attack_options, reserved0, 84);
AT(igdm_attack_options, first_index, 88);
AT(igdm_attack_options, target_logits, 96);
AT(igdm_attack_options, progress, 104);
AT(igdm_attack_options, user, 112);
AT(igdm_attack_options, cancel, 120);
AT(igdm_attack_options, targets, 128);
AT(igdm_attack_options, eot, 136);
AT(igdm_attack_options, tuning, 144);
AT(igdm_attack_options, target, 152);

SIZE(igdm_attack_report, 128);
AT(igdm_attack_report, struct_size, 0);
AT(igdm_attack_report, keep_partial, 4);
AT(igdm_attack_report, success, 8);
AT(igdm_attack_report, first_success, 16);
AT(igdm_attack_report, linf, 24);
AT(igdm_attack_report, l2, 32);
AT(igdm_attack_report, l1, 40);
AT(igdm_attack_report, forwards, 48);
AT(igdm_attack_report, backwards, 56);
AT(igdm_attack_report, successes, 64);
AT(igdm_attack_report, total_forwards, 72);
AT(igdm_attack_report, total_backwards, 80);
AT(igdm_attack_report, seconds, 88);
AT(igdm_attack_report, quantised, 96);
AT(igdm_attack_report, quantised_successes, 104);
AT(igdm_attack_report, reserved, 112);

SIZE(igdm_host_pass, 80);
AT(igdm_host_pass, struct_size, 0);
AT(igdm_host_pass, reserved0, 4);
AT(igdm_host_pass, images, 8);
AT(igdm_host_pass, count, 16);
AT(igdm_host_pass, cotangent, 24);
AT(igdm_host_pass, logits, 32);
AT(igdm_host_pass, gradient, 40);
AT(igdm_host_pass, reserved, 48);

SIZE(igdm_host_model, 88);
AT(igdm_host_model, struct_size, 0);
AT(igdm_host_model, has_gradient, 4);
AT(igdm_host_model, classes, 8);
AT(igdm_host_model, channels, 16);
AT(igdm_host_model, height, 24);
AT(igdm_host_model, width, 32);
AT(igdm_host_model, evaluate, 40);
AT(igdm_host_model, user, 48);
AT(igdm_host_model, reserved, 56);

SIZE(igdm_evaluate_options, 128);
AT(igdm_evaluate_options, struct_size, 0);
AT(igdm_evaluate_options, reserved0, 4);
AT(igdm_evaluate_options, attacks, 8);
AT(igdm_evaluate_options, norm, 16);
AT(igdm_evaluate_options, epsilon, 24);
AT(igdm_evaluate_options, step, 32);
AT(igdm_evaluate_options, restarts, 40);
AT(igdm_evaluate_options, count, 48);
AT(igdm_evaluate_options, batch_size, 56);
AT(igdm_evaluate_options, seed, 64);
AT(igdm_evaluate_options, progress, 72);
AT(igdm_evaluate_options, user, 80);
AT(igdm_evaluate_options, cancel, 88);
AT(igdm_evaluate_options, target, 96);
AT(igdm_evaluate_options, keep_samples, 104);
AT(igdm_evaluate_options, reserved, 112);

SIZE(igdm_evaluation_row, 80);
AT(igdm_evaluation_row, struct_size, 0);
AT(igdm_evaluation_row, reserved0, 4);
AT(igdm_evaluation_row, name, 8);
AT(igdm_evaluation_row, correct, 16);
AT(igdm_evaluation_row, count, 24);
AT(igdm_evaluation_row, accuracy, 32);
AT(igdm_evaluation_row, seconds, 40);
AT(igdm_evaluation_row, quantised, 48);
AT(igdm_evaluation_row, reserved, 56);

SIZE(igdm_autoattack_options, 160);
AT(igdm_autoattack_options, struct_size, 0);
AT(igdm_autoattack_options, reserved0, 4);
AT(igdm_autoattack_options, version, 8);
AT(igdm_autoattack_options, attacks, 16);
AT(igdm_autoattack_options, norm, 24);
AT(igdm_autoattack_options, epsilon, 32);
AT(igdm_autoattack_options, restarts, 40);
AT(igdm_autoattack_options, targets, 48);
AT(igdm_autoattack_options, eot, 56);
AT(igdm_autoattack_options, count, 64);
AT(igdm_autoattack_options, batch_size, 72);
AT(igdm_autoattack_options, seed, 80);
AT(igdm_autoattack_options, state, 88);
AT(igdm_autoattack_options, state_seconds, 96);
AT(igdm_autoattack_options, progress, 104);
AT(igdm_autoattack_options, user, 112);
AT(igdm_autoattack_options, cancel, 120);
AT(igdm_autoattack_options, reserved, 128);

SIZE(igdm_trainer_details, 296);
AT(igdm_trainer_details, struct_size, 0);
AT(igdm_trainer_details, reserved0, 4);
AT(igdm_trainer_details, clean_teacher, 8);
AT(igdm_trainer_details, distillation_weight, 16);
AT(igdm_trainer_details, trades_beta, 24);
AT(igdm_trainer_details, introspection_start, 32);
AT(igdm_trainer_details, introspection_power, 40);
AT(igdm_trainer_details, balance_rate, 48);
AT(igdm_trainer_details, igdm_term, 56);
AT(igdm_trainer_details, igdm_ramp, 64);
AT(igdm_trainer_details, optimiser, 72);
AT(igdm_trainer_details, beta2, 80);
AT(igdm_trainer_details, adam_epsilon, 88);
AT(igdm_trainer_details, gradient_clip, 96);
AT(igdm_trainer_details, warmup_epochs, 104);
AT(igdm_trainer_details, awp, 112);
AT(igdm_trainer_details, awp_start, 120);
AT(igdm_trainer_details, average, 128);
AT(igdm_trainer_details, ema_decay, 136);
AT(igdm_trainer_details, swa_start, 144);
AT(igdm_trainer_details, cutout, 152);
AT(igdm_trainer_details, cutmix, 160);
AT(igdm_trainer_details, consistency_weight, 168);
AT(igdm_trainer_details, reserved, 176);

SIZE(igdm_trainer_options, 280);
AT(igdm_trainer_options, struct_size, 0);
AT(igdm_trainer_options, reserved0, 4);
AT(igdm_trainer_options, method, 8);
AT(igdm_trainer_options, igdm, 16);
AT(igdm_trainer_options, mirror, 24);
AT(igdm_trainer_options, igdm_distance, 32);
AT(igdm_trainer_options, inner, 40);
AT(igdm_trainer_options, temperature, 48);
AT(igdm_trainer_options, adversarial_weight, 56);
AT(igdm_trainer_options, epsilon, 64);
AT(igdm_trainer_options, step, 72);
AT(igdm_trainer_options, steps, 80);
AT(igdm_trainer_options, learning_rate, 88);
AT(igdm_trainer_options, momentum, 96);
AT(igdm_trainer_options, weight_decay, 104);
AT(igdm_trainer_options, nesterov, 112);
AT(igdm_trainer_options, flip, 116);
AT(igdm_trainer_options, crop_padding, 120);
AT(igdm_trainer_options, schedule, 128);
AT(igdm_trainer_options, milestones, 136);
AT(igdm_trainer_options, milestone_count, 144);
AT(igdm_trainer_options, decay, 152);
AT(igdm_trainer_options, warmup, 160);
AT(igdm_trainer_options, epochs, 168);
AT(igdm_trainer_options, batch_size, 176);
AT(igdm_trainer_options, steps_per_epoch, 184);
AT(igdm_trainer_options, seed, 192);
AT(igdm_trainer_options, validation_count, 200);
AT(igdm_trainer_options, validation_steps, 208);
AT(igdm_trainer_options, mirror_statistics, 216);
AT(igdm_trainer_options, details, 224);
AT(igdm_trainer_options, reserved, 232);

SIZE(igdm_batch, 80);
AT(igdm_batch, struct_size, 0);
AT(igdm_batch, reserved0, 4);
AT(igdm_batch, images, 8);
AT(igdm_batch, labels, 16);
AT(igdm_batch, count, 24);
AT(igdm_batch, adversarial, 32);
AT(igdm_batch, update, 40);
AT(igdm_batch, reserved1, 44);
AT(igdm_batch, reserved, 48);

SIZE(igdm_step_report, 112);
AT(igdm_step_report, struct_size, 0);
AT(igdm_step_report, reserved0, 4);
AT(igdm_step_report, loss, 8);
AT(igdm_step_report, base_loss, 16);
AT(igdm_step_report, igdm_loss, 24);
AT(igdm_step_report, igdm_weight, 32);
AT(igdm_step_report, learning_rate, 40);
AT(igdm_step_report, adversarial_accuracy, 48);
AT(igdm_step_report, mirror_outside, 56);
AT(igdm_step_report, epoch, 64);
AT(igdm_step_report, step, 72);
AT(igdm_step_report, reserved, 80);

SIZE(igdm_fit_event, 168);
AT(igdm_fit_event, struct_size, 0);
AT(igdm_fit_event, kind, 4);
AT(igdm_fit_event, epoch, 8);
AT(igdm_fit_event, epochs, 16);
AT(igdm_fit_event, batch, 24);
AT(igdm_fit_event, batches, 32);
AT(igdm_fit_event, loss, 40);
AT(igdm_fit_event, base_loss, 48);
AT(igdm_fit_event, igdm_loss, 56);
AT(igdm_fit_event, adversarial_accuracy, 64);
AT(igdm_fit_event, igdm_weight, 72);
AT(igdm_fit_event, learning_rate, 80);
AT(igdm_fit_event, mirror_outside, 88);
AT(igdm_fit_event, validation_clean, 96);
AT(igdm_fit_event, validation_robust, 104);
AT(igdm_fit_event, images_per_second, 112);
AT(igdm_fit_event, seconds, 120);
AT(igdm_fit_event, eta_seconds, 128);
AT(igdm_fit_event, gradient_cosine, 136);
AT(igdm_fit_event, gradient_distance, 144);
AT(igdm_fit_event, reserved, 152);

SIZE(igdm_trainer_position, 72);
AT(igdm_trainer_position, struct_size, 0);
AT(igdm_trainer_position, reserved0, 4);
AT(igdm_trainer_position, epochs, 8);
AT(igdm_trainer_position, batches, 16);
AT(igdm_trainer_position, steps, 24);
AT(igdm_trainer_position, steps_per_epoch, 32);
AT(igdm_trainer_position, epochs_reported, 40);
AT(igdm_trainer_position, reserved, 48);
