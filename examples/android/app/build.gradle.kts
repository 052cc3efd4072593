// SPDX-License-Identifier: Apache-2.0
plugins {
    id("com.android.application")
}

android {
    namespace = "nasc.search"
    compileSdk = 36
    defaultConfig {
        applicationId = "nasc.search"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1"
    }
    androidResources { noCompress += "onnx" } // the model is mapped out of the app's archive
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_11
        targetCompatibility = JavaVersion.VERSION_11
    }
}

dependencies {
    implementation(project(":nasc-encoder"))
}
