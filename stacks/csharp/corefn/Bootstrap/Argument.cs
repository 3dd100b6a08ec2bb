using System;
using System.Text;
using Newtonsoft.Json;

namespace CoreFn.Bootstrap
{
    /// <summary>The body of a request is not what the function takes.</summary>
    public sealed class BadArgument : Exception
    {
        public BadArgument(string message) : base(message)
        {
        }
    }

    /// <summary>Bodies as arguments.</summary>
    public static class Argument
    {
        /// <summary>How deep JSON may be: each level takes from the stack, whose end would be the process's.</summary>
        const int MaxDepth = 64;

        static readonly Encoding Utf8 = new UTF8Encoding(false, true);

        /// <summary>Text as it is, and JSON for any other type; members are found whatever their case.</summary>
        /// <exception cref="BadArgument">It is neither, with the place.</exception>
        public static object Of(byte[] body, Type type)
        {
            var text = Text(body);
            if (type == typeof(string))
            {
                return text;
            }
            if (string.IsNullOrWhiteSpace(text))
            {
                throw new BadArgument($"it is empty; JSON for {type.Name} is wanted");
            }
            try
            {
                var settings = new JsonSerializerSettings { MaxDepth = MaxDepth, CheckAdditionalContent = true };
                return JsonConvert.DeserializeObject(text, type, settings);
            }
            catch (JsonException wrong)
            {
                throw new BadArgument(wrong.Message);
            }
        }

        static string Text(byte[] body)
        {
            try
            {
                return Utf8.GetString(body);
            }
            catch (DecoderFallbackException)
            {
                throw new BadArgument("it is no UTF-8");
            }
        }
    }
}
