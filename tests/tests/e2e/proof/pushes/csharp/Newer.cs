#nullable enable
using System;
using System.IO;
using CoreFn;

public class Newer
{
    [ExportedFunction]
    public string Name(int number) => number switch
    {
        0 => "none",
        1 => "one",
        _ when number < 0 => "negative",
        _ => "many",
    };

    [ExportedFunction]
    public string Or(string? text)
    {
        using var writer = new StringWriter();
        writer.Write(Of(text));
        return writer.ToString();

        static string Of(string? text)
        {
            text = text == "" ? null : text;
            text ??= "nothing";
            return text;
        }
    }

    [ExportedFunction]
    public string Fail(string reason) => throw new InvalidOperationException(reason);
}
