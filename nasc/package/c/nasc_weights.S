/* The weights file, linked in: NASC_WEIGHTS_FILE is its path in quotes. */
  .section .rodata.nasc_linked_weights, "a", %progbits
  .balign 64
  .globl nasc_linked_weights
  .hidden nasc_linked_weights
nasc_linked_weights:
  .incbin NASC_WEIGHTS_FILE
  .globl nasc_linked_weights_end
  .hidden nasc_linked_weights_end
nasc_linked_weights_end:
  .byte 0
  .section .note.GNU-stack, "", %progbits
