// SPDX-License-Identifier: Apache-2.0
// The network by the library in C, whose weights are linked into it: no file is opened or copied.

package nasc.encoder

/** Calls that run at once; more wait for their turn. Each takes memory of its own. */
private const val CALLERS = 2

/**
 * One of the users of the library, which is there once in a process.
 *
 * @param threads that a call may use: the same of all that are open at once
 * @throws IllegalStateException if the processor is not one that there is code for, or others are open
 *     with other threads
 */
internal class NativeNetwork(private val threads: Int) : Network {
    init {
        synchronized(lock) {
            if (users == 0) {
                NativeLibrary.load()
                held(NativeLibrary.init(threads, CALLERS))
                opened = threads
            }
            check(opened == threads) {
                "an encoder with $opened threads is open: close it, or take as many, not $threads"
            }
            users++
        }
    }

    override fun run(ids: LongArray, mask: LongArray, rows: Int, tokens: Int): FloatArray {
        val out = FloatArray(rows * NativeLibrary.outputFloats(tokens))
        held(NativeLibrary.encode(ids, mask, rows, tokens, out))
        return out
    }

    override fun close(): Unit = synchronized(lock) {
        users--
        if (users == 0) NativeLibrary.quit()
    }

    private companion object {
        val lock = Any()
        var users = 0
        var opened = 0

        fun held(code: Int) =
            check(code == NativeLibrary.OK) { "the network: ${NativeLibrary.errorText(code)}" }
    }
}
