// SPDX-License-Identifier: Apache-2.0
// The encoder of this package: its tokenizer out of an app's assets, its network by AppNetwork.kt.

package nasc.encoder

import android.content.Context
import java.io.IOException

/** Folder of the assets. */
internal const val ASSETS = "nasc"

/** An encoder in an Android app. [close] gives its memory back. */
class NascEncoder private constructor(tokenizer: Tokenizer, network: Network) :
    TextEncoder(CONTENTS, tokenizer, network) {
    companion object {
        /**
         * Loads the tokenizer and the model, which takes its time: call it on no thread that draws.
         *
         * @param context any of the app
         * @param threads that a run may take; what the package was made for, unless given
         * @throws IOException if the files are not those of this package
         */
        @JvmStatic
        @JvmOverloads
        @Throws(IOException::class)
        fun create(context: Context, threads: Int = CONTENTS.threads): NascEncoder {
            require(threads >= 1) { "threads is a whole number from 1, not $threads" }
            val name = "$ASSETS/${CONTENTS.tokenizer.name}"
            val tokenizer = Tokenizer(context.assets.open(name).use { it.readBytes() })
            return NascEncoder(tokenizer, networkOf(context, threads))
        }
    }
}
