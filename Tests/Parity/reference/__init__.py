"""An independent PyTorch reference of what igdm computes: networks, attacks, distillation losses, training steps."""
