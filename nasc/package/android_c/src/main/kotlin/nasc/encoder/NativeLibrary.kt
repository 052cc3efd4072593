// SPDX-License-Identifier: Apache-2.0
// libnasc_jni.so, whose functions are in nasc_jni.c. It keeps this class's name: see consumer-rules.pro.

package nasc.encoder

internal object NativeLibrary {
    /**
     * Before the first of the calls below; once it is loaded, this does nothing.
     *
     * @throws IllegalStateException if an app has none for the processor
     */
    fun load() {
        try {
            System.loadLibrary("nasc_jni")
        } catch (error: UnsatisfiedLinkError) {
            throw IllegalStateException("there is no code for this processor: ${error.message}", error)
        }
    }

    /** What a call gives that went well. */
    const val OK = 0

    @JvmStatic
    external fun init(threads: Int, callers: Int): Int

    /** Numbers that one text of so many tokens gives. */
    @JvmStatic
    external fun outputFloats(tokens: Int): Int

    @JvmStatic
    external fun encode(
        ids: LongArray, mask: LongArray, rows: Int, tokens: Int, out: FloatArray,
    ): Int

    @JvmStatic
    external fun quit()

    @JvmStatic
    external fun errorText(code: Int): String
}
