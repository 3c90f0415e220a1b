"""What training reaches: PSNR by steps, seconds, bytes and parameters."""
