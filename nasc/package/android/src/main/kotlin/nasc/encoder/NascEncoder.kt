// SPDX-License-Identifier: Apache-2.0
// The encoder of this package, out of an app's assets.

package nasc.encoder

import android.content.Context
import java.io.File
import java.io.FileInputStream
import java.io.FileNotFoundException
import java.io.IOException
import java.nio.ByteBuffer
import java.nio.channels.FileChannel

private const val ASSETS = "nasc"

/** An encoder in an Android app. [close] gives its memory back. */
class NascEncoder private constructor(tokenizer: Tokenizer, network: Network) :
    TextEncoder(CONTENTS, tokenizer, network) {
    companion object {
        /**
         * Loads the tokenizer and the model: a few hundred milliseconds, on no thread that draws.
         *
         * The model is mapped out of the app's archive where that holds it as it is, and else out of
         * a copy, which is made once.
         *
         * @param context any of the app
         * @param threads that a run may take; what the model was measured with, unless given
         * @throws IOException if the files are not those of this package
         */
        @JvmStatic
        @JvmOverloads
        @Throws(IOException::class)
        fun create(context: Context, threads: Int = CONTENTS.threads): NascEncoder {
            require(threads >= 1) { "threads is a whole number from 1, not $threads" }
            val name = "$ASSETS/${CONTENTS.tokenizer.name}"
            val tokenizer = Tokenizer(context.assets.open(name).use { it.readBytes() })
            return NascEncoder(
                tokenizer, OnnxNetwork(mapModel(context), CONTENTS.output, threads),
            )
        }

        private fun mapModel(context: Context): ByteBuffer {
            val name = "$ASSETS/${CONTENTS.model.name}"
            return try {
                context.assets.openFd(name).use {
                    if (it.length != CONTENTS.model.sizeBytes) {
                        throw IOException("$name is not the file of this package: build the app anew")
                    }
                    FileInputStream(it.fileDescriptor).channel
                        .map(FileChannel.MapMode.READ_ONLY, it.startOffset, it.length)
                }
            } catch (_: FileNotFoundException) { // the archive holds it compressed
                val folder = File(context.applicationContext.noBackupFilesDir, "nasc-encoder")
                mapCopy(folder, CONTENTS.model) { context.assets.open(name) }
            }
        }
    }
}
